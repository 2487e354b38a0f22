"""The network of the starter model: inverted residuals as in MobileNetV2 (arXiv:1801.04381, section 3), small."""

from torch import Tensor, nn


def convolution(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, act: bool = True):
    """Convolution without bias, BatchNormalization, and ReLU6 unless `act` is false."""
    layers = [
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU6()) if act else nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Widen by `expand`, filter every channel, narrow without activation; added to the input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int):
        super().__init__()
        hidden = inputs * expand
        self.body = nn.Sequential(
            convolution(inputs, hidden, 1),
            convolution(hidden, hidden, 3, stride, groups=hidden),
            convolution(hidden, outputs, 1, act=False),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class DigitNet(nn.Module):
    """float32[N, 1, 16, 16] in 0..1 -> logits float32[N, 10]."""

    def __init__(self):
        super().__init__()
        self.stem = convolution(1, 16, 3)
        self.blocks = nn.Sequential(
            InvertedResidual(16, 16, 1, 3),
            InvertedResidual(16, 24, 2, 4),
            InvertedResidual(24, 24, 1, 4),
            InvertedResidual(24, 32, 2, 4),
            InvertedResidual(32, 32, 1, 4),
        )
        self.head = convolution(32, 64, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.pool(self.head(self.blocks(self.stem(x))))))
