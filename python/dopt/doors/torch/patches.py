"""What torch's exporter cannot express, spelled with operators that it can; in force while a network is exported only.

Each replacement computes the same numbers and is used instead of the original function by the network's own code.
"""

import contextlib
from typing import Any, Iterator, List, Tuple


@contextlib.contextmanager
def exportable(fixed_batch: bool) -> Iterator[None]:
    """Patches torch for the duration of an export. ``fixed_batch``: the first size is a number as well."""
    import torch
    import torch.nn.functional as functional

    replaced: List[Tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, value: Any) -> None:
        if hasattr(owner, name):
            replaced.append((owner, name, vars(owner).get(name)))
            setattr(owner, name, value)

    try:
        for dimensions in (1, 2, 3):
            name = f"conv{dimensions}d"
            replace(functional, name, _same_padding(getattr(functional, name), dimensions))
        for owner in (functional, torch):
            replace(owner, "pixel_unshuffle", pixel_unshuffle)
            replace(owner, "channel_shuffle", channel_shuffle)
            replace(owner, "argsort", argsort)
        replace(torch.Tensor, "argsort", argsort)
        replace(functional, "adaptive_avg_pool2d", _adaptive_average(functional.adaptive_avg_pool2d))
        _integer_sizes(replace, fixed_batch)
        yield
    finally:
        for owner, name, value in reversed(replaced):
            if value is None:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


class Sizes(tuple):
    """A torch.Size whose first element may be a traced tensor."""

    def numel(self) -> Any:
        product = 1
        for size in self:
            product = product * size
        return product


def _integer_sizes(replace: Any, fixed_batch: bool) -> None:
    """``size()`` and ``shape`` give plain ints while tracing, for every dimension but the batch.

    Tracing makes sizes tensors, which functions that want ints refuse (``F.avg_pool2d(x, x.size()[3])``), and which
    leave long chains of shape operators in the graph.
    """
    import torch

    size = torch.Tensor.size

    def integers(tensor: Any) -> Sizes:
        return Sizes(
            each if index == 0 and not fixed_batch else int(each) for index, each in enumerate(size(tensor))
        )

    def ours(tensor: Any, dim: Any = None) -> Any:
        if not torch.jit.is_tracing():
            return size(tensor) if dim is None else size(tensor, dim)
        sizes = integers(tensor)
        return sizes if dim is None else sizes[dim]

    replace(torch.Tensor, "size", ours)
    shape = torch.Tensor.shape

    def shape_of(tensor: Any) -> Any:
        return integers(tensor) if torch.jit.is_tracing() else shape.__get__(tensor)

    replace(torch.Tensor, "shape", property(shape_of))


def _same_padding(convolution: Any, dimensions: int) -> Any:
    """A convolution that turns padding='same' and 'valid' into numbers (Conv of opset 13 wants its pads)."""

    def ours(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1):
        import torch.nn.functional as functional

        if not isinstance(padding, str):
            return convolution(input, weight, bias, stride, padding, dilation, groups)
        pads = [(0, 0)] * dimensions
        if padding == "same":
            spread = dilation if isinstance(dilation, (tuple, list)) else (dilation,) * dimensions
            totals = [d * (int(k) - 1) for d, k in zip(spread, weight.shape[2:])]
            pads = [(total // 2, total - total // 2) for total in totals]
        if all(before == after for before, after in pads):
            return convolution(input, weight, bias, stride, tuple(before for before, _ in pads), dilation, groups)
        padded = functional.pad(input, [each for pair in reversed(pads) for each in pair])
        return convolution(padded, weight, bias, stride, 0, dilation, groups)

    return ours


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """[N, C, H*r, W*r] to [N, C*r*r, H, W], as torch.nn.functional.pixel_unshuffle."""
    r = downscale_factor
    _, channels, height, width = input.shape
    split = input.reshape(-1, channels, height // r, r, width // r, r)
    return split.permute(0, 1, 3, 5, 2, 4).reshape(-1, channels * r * r, height // r, width // r)


def channel_shuffle(input: Any, groups: int) -> Any:
    """[N, C, ...] with channels dealt out over groups, as torch.nn.functional.channel_shuffle."""
    _, channels, *rest = input.shape
    dealt = input.reshape(-1, groups, channels // groups, *rest)
    return dealt.transpose(1, 2).reshape(-1, channels, *rest)


def argsort(input: Any, dim: int = -1, descending: bool = False) -> Any:
    """Indices of torch.sort."""
    import torch

    return torch.sort(input, dim=dim, descending=descending)[1]


def _adaptive_average(original: Any) -> Any:
    """adaptive_avg_pool2d to any size: where the sizes do not divide, a product with matrices of averages."""

    def ours(input: Any, output_size: Any) -> Any:
        wanted = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
        height, width = (int(each) for each in input.shape[-2:])
        rows = height if wanted[0] is None else int(wanted[0])
        columns = width if wanted[1] is None else int(wanted[1])
        if height % rows == 0 and width % columns == 0:
            return original(input, (rows, columns))
        import torch

        return torch.matmul(torch.matmul(averages(rows, height), input), averages(columns, width).t())

    return ours


def averages(bins: int, size: int) -> Any:
    """[bins, size]: row i averages floor(i*size/bins) .. ceil((i+1)*size/bins), torch's adaptive pooling windows."""
    import torch

    matrix = torch.zeros(bins, size)
    for i in range(bins):
        start, end = i * size // bins, -(-(i + 1) * size // bins)
        matrix[i, start:end] = 1.0 / (end - start)
    return matrix
