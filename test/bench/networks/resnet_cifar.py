"""ResNet-20 and ResNet-56 for CIFAR-10, with parameter-free (option A) shortcuts.

He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385), section 4.2.
Parameter names are those of the published weights files (akamaster/pytorch_resnet_cifar10), without `module.`.
"""
import torch.nn as nn
import torch.nn.functional as F


class PadShortcut(nn.Module):
    """Option A: every second pixel, and zero channels on both sides to reach the new width."""

    def __init__(self, cin, cout):
        super().__init__()
        self.side = (cout - cin) // 2

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.side, self.side))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut around them."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.shortcut = nn.Identity() if stride == 1 and cin == cout else PadShortcut(cin, cout)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def stage(cin, cout, stride, depth):
    """`depth` blocks, of which the first changes width and size."""
    return nn.Sequential(BasicBlock(cin, cout, stride), *(BasicBlock(cout, cout, 1) for _ in range(depth - 1)))


class CifarResNet(nn.Module):
    """Pictures (N, 3, 32, 32) to class scores (N, 10); `depth` blocks in each of the three stages."""

    def __init__(self, depth=3, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(16, 16, 1, depth)
        self.layer2 = stage(16, 32, 2, depth)
        self.layer3 = stage(32, 64, 2, depth)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))


def resnet20():
    """ResNet-20: three blocks a stage."""
    return CifarResNet(3)


def resnet56():
    """ResNet-56: nine blocks a stage."""
    return CifarResNet(9)
