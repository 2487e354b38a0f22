"""CGNet (M3N21): semantic segmentation of street scenes, 11 CamVid classes.

Wu, Tang, Zhang, Cao, Zhang: "CGNet: A Light-weight Context Guided Network for Semantic Segmentation",
IEEE TIP 2021 (arXiv 1811.08201). Parameter names are those of the published weights file.
"""
from collections import OrderedDict

import torch
import torch.nn as nn
import torch.nn.functional as F

BN_EPS = 1e-3  # of the published network; PyTorch's own default is 1e-5


def conv(cin, cout, kernel, stride=1, groups=1, dilation=1):
    """A convolution without bias whose padding keeps the size (before the stride)."""
    return nn.Conv2d(cin, cout, kernel, stride, dilation * (kernel // 2), dilation, groups, bias=False)


def only_conv(*args, **kwargs):
    return nn.Sequential(OrderedDict(conv=conv(*args, **kwargs)))


def bn_prelu(channels):
    return nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(channels, eps=BN_EPS), act=nn.PReLU(channels)))


def conv_bn_prelu(cin, cout, kernel, stride=1):
    return nn.Sequential(OrderedDict(
        conv=conv(cin, cout, kernel, stride), bn=nn.BatchNorm2d(cout, eps=BN_EPS), act=nn.PReLU(cout)))


class GlobalContext(nn.Module):
    """Scales each channel by a weight that two linear layers draw from the channels' means."""

    def __init__(self, channels, reduction):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(nn.Linear(channels, channels // reduction), nn.ReLU(inplace=True),
                                nn.Linear(channels // reduction, channels), nn.Sigmoid())

    def forward(self, x):
        weight = self.fc(self.avg_pool(x).flatten(1))
        return x * weight.unsqueeze(2).unsqueeze(3)


class ContextDown(nn.Module):
    """Context guided block that halves the size: local and surrounding features joined, then narrowed."""

    def __init__(self, cin, cout, dilation, reduction):
        super().__init__()
        self.conv1x1 = conv_bn_prelu(cin, cout, 3, stride=2)  # 3x3, in spite of the name in the weights file
        self.F_loc = only_conv(cout, cout, 3, groups=cout)
        self.F_sur = only_conv(cout, cout, 3, groups=cout, dilation=dilation)
        self.bn = nn.BatchNorm2d(2 * cout, eps=BN_EPS)
        self.act = nn.PReLU(2 * cout)
        self.reduce = only_conv(2 * cout, cout, 1)
        self.F_glo = GlobalContext(cout, reduction)

    def forward(self, x):
        x = self.conv1x1(x)
        x = torch.cat([self.F_loc(x), self.F_sur(x)], 1)
        return self.F_glo(self.reduce(self.act(self.bn(x))))


class ContextBlock(nn.Module):
    """Context guided block that keeps the size: half the channels see near, half see far, and the input is added."""

    def __init__(self, channels, dilation, reduction):
        super().__init__()
        half = channels // 2
        self.conv1x1 = conv_bn_prelu(channels, half, 1)
        self.F_loc = only_conv(half, half, 3, groups=half)
        self.F_sur = only_conv(half, half, 3, groups=half, dilation=dilation)
        self.bn_prelu = bn_prelu(channels)
        self.F_glo = GlobalContext(channels, reduction)

    def forward(self, x):
        y = self.conv1x1(x)
        y = torch.cat([self.F_loc(y), self.F_sur(y)], 1)
        return x + self.F_glo(self.bn_prelu(y))


class CGNet(nn.Module):
    """Pictures (N, 3, H, W) to class scores (N, classes, H, W); trained at 360 x 480."""

    def __init__(self, classes=11, m=3, n=21):
        super().__init__()
        self.level1_0 = conv_bn_prelu(3, 32, 3, stride=2)
        self.level1_1 = conv_bn_prelu(32, 32, 3)
        self.level1_2 = conv_bn_prelu(32, 32, 3)
        self.sample1 = nn.AvgPool2d(3, stride=2, padding=1)
        self.sample2 = nn.AvgPool2d(3, stride=2, padding=1)
        self.b1 = bn_prelu(32 + 3)
        self.level2_0 = ContextDown(32 + 3, 64, dilation=2, reduction=8)
        self.level2 = nn.Sequential(*(ContextBlock(64, dilation=2, reduction=8) for _ in range(m - 1)))
        self.bn_prelu_2 = bn_prelu(2 * 64 + 3)
        self.level3_0 = ContextDown(2 * 64 + 3, 128, dilation=4, reduction=16)
        self.level3 = nn.Sequential(*(ContextBlock(128, dilation=4, reduction=16) for _ in range(n - 1)))
        self.bn_prelu_3 = bn_prelu(2 * 128)
        self.classifier = nn.Sequential(only_conv(2 * 128, classes, 1))

    def forward(self, x):
        half = self.sample1(x)
        quarter = self.sample2(half)
        y = self.level1_2(self.level1_1(self.level1_0(x)))
        first = self.level2_0(self.b1(torch.cat([y, half], 1)))
        y = self.bn_prelu_2(torch.cat([self.level2(first), first, quarter], 1))
        first = self.level3_0(y)
        y = self.bn_prelu_3(torch.cat([first, self.level3(first)], 1))
        return F.interpolate(self.classifier(y), x.shape[2:], mode="bilinear", align_corners=False)
