"""ProxylessNAS-tiny (width 0.25) for 112 x 112 ImageNet pictures.

Cai, Zhu, Han: "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", ICLR 2019
(arXiv 1812.00332). Parameter names are those of the published weights file.
"""
from collections import OrderedDict

import torch.nn as nn

BN_EPS = 1e-3  # of the published network; PyTorch's own default is 1e-5

# One row a block: kernel, stride, expansion, input channels, output channels, identity shortcut.
# None is a block whose convolution the search removed: only its shortcut is left.
BLOCKS = (
    (3, 1, 1, 8, 8, False),
    (5, 2, 3, 8, 8, False),
    (3, 1, 3, 8, 8, True),
    None,
    None,
    (7, 2, 3, 8, 16, False),
    (3, 1, 3, 16, 16, True),
    (5, 1, 3, 16, 16, True),
    (5, 1, 3, 16, 16, True),
    (7, 2, 6, 16, 24, False),
    (5, 1, 3, 24, 24, True),
    (5, 1, 3, 24, 24, True),
    (5, 1, 3, 24, 24, True),
    (5, 1, 6, 24, 24, False),
    (5, 1, 3, 24, 24, True),
    (5, 1, 3, 24, 24, True),
    (5, 1, 3, 24, 24, True),
    (7, 2, 6, 24, 48, False),
    (7, 1, 6, 48, 48, True),
    (7, 1, 3, 48, 48, True),
    (7, 1, 3, 48, 48, True),
    (7, 1, 6, 48, 80, False),
)


def conv_bn(cin, cout, kernel, stride=1, groups=1, relu=True):
    """Convolution without bias, batch norm and, unless `relu` is false, ReLU6."""
    layers = [("conv", nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)),
              ("bn", nn.BatchNorm2d(cout, eps=BN_EPS))]
    if relu:
        layers.append(("act", nn.ReLU6(inplace=True)))
    return nn.Sequential(OrderedDict(layers))


def inverted_conv(kernel, stride, expansion, cin, cout):
    """Widen (left out where the expansion is 1), filter each channel on its own, narrow without activation."""
    mid = cin * expansion
    layers = [] if expansion == 1 else [("inverted_bottleneck", conv_bn(cin, mid, 1))]
    layers.append(("depth_conv", conv_bn(mid, mid, kernel, stride, groups=mid)))
    layers.append(("point_linear", conv_bn(mid, cout, 1, relu=False)))
    return nn.Sequential(OrderedDict(layers))


class InvertedResidual(nn.Module):
    """An inverted bottleneck, added to its own input where the block has a shortcut."""

    def __init__(self, kernel, stride, expansion, cin, cout, shortcut):
        super().__init__()
        self.mobile_inverted_conv = inverted_conv(kernel, stride, expansion, cin, cout)
        self.shortcut = shortcut

    def forward(self, x):
        y = self.mobile_inverted_conv(x)
        return x + y if self.shortcut else y


class ProxylessNet(nn.Module):
    """Pictures (N, 3, 112, 112) to class scores (N, 1000); other sizes work too."""

    def __init__(self, num_classes=1000):
        super().__init__()
        self.first_conv = conv_bn(3, 8, 3, stride=2)
        self.blocks = nn.Sequential(*(nn.Identity() if row is None else InvertedResidual(*row) for row in BLOCKS))
        self.feature_mix_layer = conv_bn(80, 320, 1)
        self.classifier = nn.Sequential(OrderedDict(linear=nn.Linear(320, num_classes)))

    def forward(self, x):
        x = self.feature_mix_layer(self.blocks(self.first_conv(x)))
        return self.classifier(x.mean((2, 3)))
