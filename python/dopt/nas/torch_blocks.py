"""The blocks that a searched network is made of, in PyTorch.

A layer is a dict: ``block``, ``in``, ``out`` (channels), ``stride``, ``kernel``, ``hidden`` (channels inside the block),
``squeeze`` (channels of squeeze-and-excitation, 0 for none). This file imports nothing but torch: it is written into every
result, so that a result runs alone.
"""

import torch
from torch import nn


def conv(channels_in, channels_out, kernel, stride=1, groups=1, relu=True):
    """A convolution with its normalization, and ReLU behind it unless told otherwise."""
    parts = [
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out),
    ]
    return nn.Sequential(*parts, nn.ReLU(inplace=True)) if relu else nn.Sequential(*parts)


class SqueezeExcite(nn.Module):
    """Weighs channels by what all pixels say (Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018)."""

    def __init__(self, channels, squeeze):
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeeze, 1)
        self.expand = nn.Conv2d(squeeze, channels, 1)

    def forward(self, inputs):
        pooled = inputs.mean((2, 3), keepdim=True)
        return inputs * torch.sigmoid(self.expand(torch.relu(self.reduce(pooled))))


class Layer(nn.Module):
    """One layer of a searched network; the map stays as large as it is, or halves where the stride is 2."""

    def __init__(self, layer):
        super().__init__()
        block, kernel, stride = layer["block"], layer["kernel"], layer["stride"]
        before, hidden, after = layer["in"], layer["hidden"], layer["out"]
        straight = stride == 1 and before == after
        self.shortcut = None
        self.relu = block in ("residual", "bottleneck")
        if block == "skip":
            self.body = nn.Identity()
            return
        if block == "conv":
            self.body = conv(before, after, kernel, stride)
            return
        if block == "residual":
            parts = [conv(before, hidden, kernel, stride), conv(hidden, after, kernel, relu=False)]
        elif block == "bottleneck":
            parts = [conv(before, hidden, 1), conv(hidden, hidden, kernel, stride), conv(hidden, after, 1, relu=False)]
        elif block == "mbconv":
            parts = [conv(before, hidden, 1), conv(hidden, hidden, kernel, stride, groups=hidden)]
            if layer["squeeze"]:
                parts.append(SqueezeExcite(hidden, layer["squeeze"]))
            parts.append(conv(hidden, after, 1, relu=False))
        elif block == "fused":
            parts = [conv(before, hidden, kernel, stride), conv(hidden, after, 1, relu=False)]
        else:
            raise ValueError(f"no block is called {block!r}")
        self.body = nn.Sequential(*parts)
        if straight:
            self.shortcut = nn.Identity()
        elif self.relu:
            self.shortcut = conv(before, after, 1, stride, relu=False)

    def forward(self, inputs):
        outputs = self.body(inputs)
        if self.shortcut is not None:
            outputs = outputs + self.shortcut(inputs)
        return torch.relu(outputs) if self.relu else outputs


class Network(nn.Module):
    """The fixed beginning, the searched layers, and the fixed end, which may read results of chosen layers too."""

    def __init__(self, pre_net, layers, post_net, features=()):
        super().__init__()
        self.pre_net = pre_net
        self.layers = nn.ModuleList(Layer(layer) for layer in layers)
        self.post_net = post_net
        self.features = tuple(features)

    def forward(self, inputs):
        return self.observed(inputs)[1]

    def observed(self, inputs):
        """What comes out of each layer, and the outputs."""
        maps = [self.pre_net(inputs)]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        chosen = [maps[index + 1] for index in self.features]
        return maps[1:], self.post_net([*chosen, maps[-1]] if self.features else maps[-1])
