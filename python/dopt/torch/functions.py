"""Rounding to a grid with gradients for values, scales and zero points. Forward arithmetic is that of ONNX QuantizeLinear."""

from typing import Any, Optional, Tuple

import torch
from torch import Tensor
from torch.autograd import Function


class RoundActivation(Function):
    """x̂ = clamp(round(x / s), low − z, high − z) · s, the division in float32, ties to even.

    Gradients: straight through for x inside the range; for the scale LSQ (Esser et al., arXiv:1902.08153, equation 3),
    for the zero point LSQ+ (Bhalgat et al., arXiv:2004.09576, section 3.1), each scaled by 1/√(N·Q), section 2.2 of
    the former. ``clip_only`` leaves the rounding error out of the scale's gradient, as PACT does (Choi et al.,
    arXiv:1805.06085, equation 3). The scale is s0·exp(θ) and the zero point z0 + Q·ζ: the gradients given for θ and ζ
    are those for which a step of the optimizer changes s and z, relative to s, as much as a step on s itself would. They are
    bounded by 1: where everything is clipped, a step would otherwise throw the scale away.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        log_scale: Tensor,
        shift: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        limits: Tuple[int, int],
        clip_only: bool,
    ) -> Tensor:
        low, high = limits[0] - zero_point, limits[1] - zero_point
        rounded = torch.div(x, scale).round_()
        if x.device.type == "cpu":
            rounded.clamp_(float(low), float(high))
        else:
            rounded = torch.minimum(torch.maximum(rounded, low), high)
        rounded.mul_(scale)
        ctx.save_for_backward(x, rounded, scale, low, high)
        ctx.levels, ctx.clip_only = limits[1] - limits[0], clip_only
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Optional[Tensor], ...]:
        x, rounded, scale, low, high = ctx.saved_tensors
        passed = _inside(gradient, x, low * scale, high * scale)
        norm = 1.0 / (x.numel() * ctx.levels) ** 0.5
        all_of_it, inside = _dot(gradient, rounded), _dot(passed, rounded if ctx.clip_only else x)
        for_scale = (all_of_it - inside) / scale**2 * norm
        clipped = gradient.sum() - passed.sum()
        for_shift = -clipped / (scale * ctx.levels) * norm
        return passed, for_scale.clamp(-1, 1).reshape(1), for_shift.clamp(-1, 1).reshape(1), None, None, None, None


def _inside(gradient: Tensor, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The gradient where low ≤ x ≤ high, 0 elsewhere."""
    if x.device.type == "cpu":
        # One pass over memory. Its bounds are exclusive.
        below, above = (bound + (bound.abs() + 1e-30) * side * 1e-6 for bound, side in ((low, -1), (high, 1)))
        return torch.ops.aten.hardtanh_backward(gradient, x, float(below), float(above))
    return gradient * ((x >= low) & (x <= high))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    if a.is_contiguous() and b.is_contiguous():
        return torch.dot(a.view(-1), b.view(-1))
    return (a * b).sum()


class RoundWeight(Function):
    """ŵ = clamp(round(w / s), −limit, limit) · (s·f), a scale for each output channel (or one), LSQ gradients.

    ``factor`` f [channels] is γ/σ of the batch normalization behind, which only stretches the grid of a channel: the
    integers are those of w, and the folded weight lies on its grid exactly. ``shape`` lets scales meet the channels.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, log_scale: Tensor, factor: Tensor, scale: Tensor, limit: int, shape: Tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(weight, factor, scale)
        ctx.limit, ctx.shape = limit, shape
        return integers_of(weight, scale.view(shape), limit).mul_((scale * factor).view(shape))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Optional[Tensor], ...]:
        weight, factor, scale = ctx.saved_tensors
        limit, shape = ctx.limit, ctx.shape
        position = weight / scale.view(shape)
        integers = position.round().clamp_(-limit, limit)
        inside = position.abs() <= limit
        stretched = gradient * factor.view(shape)
        for_weight = stretched * inside
        error = torch.where(inside, integers - position, integers)
        norm = 1.0 / (weight.numel() / scale.numel() * limit) ** 0.5
        for_scale = (_per_channel(stretched * error, shape) / scale * norm).clamp_(-1, 1)
        for_factor = _per_channel(gradient * integers, shape) * scale if ctx.needs_input_grad[2] else None
        return for_weight, for_scale, for_factor, None, None, None


def integers_of(weight: Tensor, scale: Tensor, limit: int) -> Tensor:
    """round(w / s) within ±limit, as floats."""
    return torch.div(weight, scale).round_().clamp_(-limit, limit)


def _per_channel(values: Tensor, shape: Tuple[int, ...]) -> Tensor:
    """Sums over the axes in which ``shape``, that of the scales, has size 1."""
    axes = [axis for axis, size in enumerate(shape) if size == 1]
    return (values.sum(axes) if axes else values).reshape(-1)
