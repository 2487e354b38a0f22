"""Pooling: adaptive pooling whose windows do not divide the input, and what belongs to it."""

from typing import Any, Callable, List, Optional

import torch

from dopt.doors.torch.symbolics.algebra import Tensor, concat
from dopt.doors.torch.symbolics.registry import Original, symbolic


def windows(bins: int, size: int) -> List[range]:
    """Adaptive pooling's windows: the i-th goes from floor(i*size/bins) to ceil((i+1)*size/bins)."""
    return [range(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]


def _pooled(x: Tensor, sizes: List[int], along: Callable[[Tensor, int, List[range]], Tensor]) -> Optional[Tensor]:
    """The last dimensions brought to ``sizes`` one after the other; None where they all divide, which torch can write."""
    axes = range(x.rank - len(sizes), x.rank)
    if all(x.size(axis) % bins == 0 for axis, bins in zip(axes, sizes)):
        return None
    for axis, bins in zip(axes, sizes):
        if x.size(axis) != bins:
            # The dimensions that are still to come have the sizes of the trace.
            x = Tensor(x.graph, along(x, axis, windows(bins, x.size(axis))).value, x.kind, traced=x.type)
    return x


def _averages(x: Tensor, axis: int, parts: List[range]) -> Tensor:
    """A product with a matrix of averages [size, bins]."""
    matrix = torch.zeros(x.size(axis), len(parts))
    for column, part in enumerate(parts):
        matrix[part, column] = 1.0 / len(part)
    return x.times(matrix, axis)


def _maxima(x: Tensor, axis: int, parts: List[range]) -> Tensor:
    return concat([x.slice(axis, part.start, part.stop).reduce("ReduceMax", [axis], True) for part in parts], axis)


@symbolic("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", replaces=True)
def adaptive_average(x: Tensor, sizes: List[int], original: Original) -> Any:
    found = _pooled(x, sizes, _averages)
    return original() if found is None else found


@symbolic("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", replaces=True)
def adaptive_maximum(x: Tensor, sizes: List[int], original: Original) -> Any:
    """Positions of the maxima are not given where a size does not divide."""
    found = _pooled(x, sizes, _maxima)
    return original() if found is None else (found, None)


@symbolic("avg_pool2d", replaces=True)
def avg_pool2d(
    x: Tensor,
    kernel: List[int],
    stride: List[int],
    padding: List[int],
    ceil_mode: bool,
    _count_include_pad: bool,
    divisor: Optional[int],
    original: Original,
) -> Any:
    """With a divisor of its own: the sum of each window, divided by it."""
    if divisor is None or ceil_mode:
        return original()
    kernel, stride, padding = (each * 2 if len(each) == 1 else each for each in (kernel, stride or kernel, padding))
    settings = {"kernel_shape_i": kernel, "strides_i": stride, "pads_i": padding * 2, "count_include_pad_i": 1}
    return x.op("AveragePool", **settings) * (kernel[0] * kernel[1] / divisor)


@symbolic("max_unpool2d")
def max_unpool2d(x: Tensor, indices: Tensor, output_size: List[int]) -> Tensor:
    """Each number at the place [0, H*W) that max pooling found it at, zeros elsewhere."""
    height, width = output_size
    kept = x.shape().slice(0, 0, x.rank - 2)
    shape = concat([kept, x.integers([height * width])], 0)
    zeros = shape.op("ConstantOfShape", value_t=x.numbers(torch.zeros(1)), kind=x.kind)
    flat = [*[0] * (x.rank - 2), -1]
    placed = zeros.op("ScatterElements", indices.reshape(flat), x.reshape(flat), axis_i=x.rank - 2)
    return placed.reshape([*[0] * (x.rank - 2), height, width])


@symbolic("instance_norm", replaces=True)
def instance_norm(
    x: Tensor,
    weight: Optional[Tensor],
    bias: Optional[Tensor],
    mean: Optional[Tensor],
    variance: Optional[Tensor],
    use_input_stats: bool,
    _momentum: Any,
    epsilon: float,
    _cudnn: Any,
    original: Original,
) -> Any:
    """With statistics that were tracked in training it is batch normalization."""
    if use_input_stats or mean is None or variance is None:
        return original()
    channels = x.size(1)
    weight = x.constant(torch.ones(channels)) if weight is None else weight
    bias = x.constant(torch.zeros(channels)) if bias is None else bias
    return x.op("BatchNormalization", weight, bias, mean, variance, epsilon_f=epsilon)
