"""Rounding to integer grids that gradients pass through: weights in groups, inputs a tensor.

Straight-through rounding on x / s, clamped, times s: the gradient of s is that of Esser et al., "Learned Step Size
Quantization", arXiv:1902.08153, section 2.1.
"""

from typing import Tuple

import torch
from torch import Tensor

#: Shares of the largest weight that a clip is looked for in.
_SHARES = torch.linspace(1.0, 0.4, 25)
#: Smallest normal float32: devices flush what is below it to zero.
_SMALLEST = 2.0**-126


def limits(bits: int) -> Tuple[int, int]:
    """Ends of the integers of a weight."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def weight_scales(weight: Tensor, bits: int, group_size: int, clips: bool) -> Tensor:
    """float32 [N, G] for a weight [N, K].

    ``clips``: the share of the largest |w| of a group with the least squared error; else all of its range is covered. A
    group of zeros gets scale 1.
    """
    outputs, inputs = weight.shape
    grouped = weight.detach().float().reshape(outputs, -1, group_size or inputs)
    low, high = limits(bits)
    best = torch.maximum(grouped.amax(-1) / high, grouped.amin(-1) / low)
    if clips:
        least = torch.full_like(best, float("inf"))
        largest = grouped.abs().amax(-1)
        for share in _SHARES:
            # Half a step beyond the largest integer rounds to it, so the middle of both ends is where all is covered.
            scale = (largest * share / (high + 0.5)).clamp(min=_SMALLEST)
            error = ((grouped / scale[..., None]).round().clamp(low, high) * scale[..., None] - grouped).square().sum(-1)
            best = torch.where(error < least, scale, best)
            least = torch.minimum(error, least)
    return torch.where(best > _SMALLEST, best, torch.ones_like(best))


def weight_integers(weight: Tensor, scales: Tensor, bits: int) -> Tensor:
    """int8 [N, K]."""
    outputs, inputs = weight.shape
    grouped = weight.detach().float().reshape(outputs, scales.shape[1], -1)
    return (grouped / scales.detach().float()[..., None]).round().clamp(*limits(bits)).to(torch.int8).reshape(outputs, inputs)


def round_weight(weight: Tensor, scales: Tensor, bits: int) -> Tensor:
    """The weight [N, K] on its grid, scales [N, G]."""
    outputs, inputs = weight.shape
    grouped = weight.reshape(outputs, scales.shape[1], -1)
    steps = scales[..., None].to(weight.dtype)
    return (_round(torch.clamp(grouped / steps, *limits(bits))) * steps).reshape(outputs, inputs)


def round_input(x: Tensor, scale: Tensor, zero_point: Tensor, bits: int, symmetric: bool) -> Tensor:
    """A tensor on a grid of signed integers."""
    low, high = limits(bits)
    step, zero = scale.to(x.dtype), zero_point.to(x.dtype)
    integers = _round(torch.clamp(x / step + zero, low + 1 if symmetric else low, high))
    return (integers - zero) * step


def input_grid(low: float, high: float, bits: int, symmetric: bool) -> Tuple[float, int]:
    """Scale and zero point of a range, zero exact; (1, 0) for a range of nothing."""
    low, high = min(low, 0.0), max(high, 0.0)
    least, most = limits(bits)
    scale = max(-low, high) / most if symmetric else (high - low) / (most - least)
    if scale < _SMALLEST:
        return 1.0, 0
    return scale, 0 if symmetric else int(round(least - low / scale))


def _round(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()
