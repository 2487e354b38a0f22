"""Networks whose programs are written as people write them."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def lively(network):
    """Statistics and weights of batch normalizations that are not those of a fresh one; one gamma is negative, one 0."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.weight.data[0] *= -1
            module.weight.data[-1] = 0
            module.bias.data.normal_(0, 0.3)
    return network.eval()


class Residual(nn.Module):
    """Functions, a sum, a concatenation, a reused module, a transposed convolution, pooling, a view."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 4, 2, stride=2)
        self.bn2 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        y = self.conv2(x) + x
        y = F.hardswish(self.conv2(y))
        y = torch.cat([F.max_pool2d(x, 2), F.avg_pool2d(y, y.size(3) // 8)], 1)
        y = F.dropout(self.bn2(self.up(y)), 0.1, self.training)
        return self.fc(F.adaptive_avg_pool2d(y, 1).view(y.size(0), -1))


class Mobile(nn.Module):
    """Depthwise layers, hard-swish, squeeze and excitation, as in MobileNetV3."""

    def __init__(self, classes=4):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.blocks = nn.ModuleList([Inverted(8, 24), Inverted(8, 24)])
        self.head = nn.Sequential(nn.Conv2d(8, 32, 1, bias=False), nn.BatchNorm2d(32), nn.Hardswish())
        self.classifier = nn.Linear(32, classes)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.head(x).mean([2, 3]))


class Inverted(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.Hardswish())
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False)
        self.bn = nn.BatchNorm2d(inner)
        self.squeeze = nn.Conv2d(inner, 8, 1)
        self.excite = nn.Conv2d(8, inner, 1)
        self.project = nn.Sequential(nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = F.hardswish(self.bn(self.depthwise(self.expand(x))))
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        return x + self.project(y * gate)


class Transformer(nn.Module):
    """Attention by torch's module, by its function where there is one, and by hand; a tied linear function."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)

    def forward(self, tokens):
        x = self.embed(tokens)
        h = self.norm(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        b, t, c = x.size()
        q, k, v = self.qkv(self.norm(x)).split(16, dim=2)
        q, k, v = (each.view(b, t, 2, 8).transpose(1, 2) for each in (q, k, v))
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            y = F.softmax((q @ k.transpose(-2, -1)) * 8**-0.5, -1) @ v
        x = x + self.out(y.transpose(1, 2).reshape(b, t, c))
        return F.linear(x, self.embed.weight)


class Branching(nn.Module):
    """A part whose program depends on values, in a network that does not."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.gate = Gate()
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.gate(self.first(x)).mean([2, 3]))


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3)

    def forward(self, x):
        if x.abs().mean() > 1e6:
            return x
        return F.relu(self.conv(x))
