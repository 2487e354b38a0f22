"""Numbers moved, repeated or chosen, none of them changed."""

from typing import Any, List, Optional

import torch

from dopt.doors.torch.symbolics.algebra import Tensor, concat, unsupported
from dopt.doors.torch.symbolics.registry import symbolic


@symbolic("movedim", "moveaxis")
def movedim(x: Tensor, sources: List[int], destinations: List[int]) -> Tensor:
    placed = {x.axis(to): x.axis(source) for source, to in zip(sources, destinations)}
    others = iter(each for each in range(x.rank) if each not in placed.values())
    return x.permute([placed[each] if each in placed else next(others) for each in range(x.rank)])


@symbolic("numpy_T", "t")
def numpy_t(x: Tensor) -> Tensor:
    return x.permute(range(x.rank)[::-1])


@symbolic("mT", "adjoint", "mH")
def m_t(x: Tensor) -> Tensor:
    return x.permute([*range(x.rank - 2), x.rank - 1, x.rank - 2])


@symbolic("ravel")
def ravel(x: Tensor) -> Tensor:
    return x.flattened()


@symbolic("tile")
def tile(x: Tensor, repeats: List[int]) -> Tensor:
    missing = x.rank - len(repeats)
    repeats = [1] * missing + repeats
    x = x.unsqueeze(*range(-missing)) if missing < 0 else x
    return x.op("Tile", x.integers(repeats))


@symbolic("broadcast_to")
def broadcast_to(x: Tensor, sizes: List[int]) -> Tensor:
    return x.expand(x.integers([1 if each == -1 else each for each in sizes]))


@symbolic("fliplr")
def fliplr(x: Tensor) -> Tensor:
    return _flipped(x, 1)


@symbolic("flipud")
def flipud(x: Tensor) -> Tensor:
    return _flipped(x, 0)


def _flipped(x: Tensor, axis: int) -> Tensor:
    return x.slice(axis, -1, -(2**31), -1)


@symbolic("rot90")
def rot90(x: Tensor, times: int, dims: List[int]) -> Tensor:
    first, second = (x.axis(each) for each in dims)
    swapped = list(range(x.rank))
    swapped[first], swapped[second] = second, first
    quarter = times % 4
    if quarter == 0:
        return x
    if quarter == 2:
        return _flipped(_flipped(x, first), second)
    return _flipped(x, second).permute(swapped) if quarter == 1 else _flipped(x.permute(swapped), second)


def _at_least(parts: List[Tensor], rank: int) -> List[Tensor]:
    """Tensors with dimensions added as atleast_1d, 2d and 3d add them."""
    axes = {(0, 1): [0], (0, 2): [0, 1], (0, 3): [0, 1, 2], (1, 2): [0], (1, 3): [0, 2], (2, 3): [2]}
    return [each.unsqueeze(*axes[each.rank, rank]) if each.rank < rank else each for each in parts]


@symbolic("atleast_1d")
def atleast_1d(x: Tensor) -> Tensor:
    return _at_least([x], 1)[0]


@symbolic("atleast_2d")
def atleast_2d(x: Tensor) -> Tensor:
    return _at_least([x], 2)[0]


@symbolic("atleast_3d")
def atleast_3d(x: Tensor) -> Tensor:
    return _at_least([x], 3)[0]


@symbolic("hstack")
def hstack(parts: List[Tensor]) -> Tensor:
    return concat(_at_least(parts, 1), 0 if parts[0].rank < 2 else 1)


@symbolic("vstack", "row_stack")
def vstack(parts: List[Tensor]) -> Tensor:
    return concat(_at_least(parts, 2), 0)


@symbolic("dstack")
def dstack(parts: List[Tensor]) -> Tensor:
    return concat(_at_least(parts, 3), 2)


@symbolic("column_stack")
def column_stack(parts: List[Tensor]) -> Tensor:
    return concat([each.reshape([-1, 1]) if each.rank < 2 else each for each in parts], 1)


def _kept(x: Tensor, keep: Any) -> Tensor:
    """``x`` where ``keep`` [rows, columns], zeros elsewhere; also of infinities."""
    mask = x.constant(keep, "Bool")
    return x & mask if x.kind == "Bool" else mask.where(x, 0)


@symbolic("tril")
def tril(x: Tensor, diagonal: int) -> Tensor:
    return _kept(x, torch.ones(x.size(-2), x.size(-1)).tril(diagonal).bool())


@symbolic("triu")
def triu(x: Tensor, diagonal: int) -> Tensor:
    return _kept(x, torch.ones(x.size(-2), x.size(-1)).triu(diagonal).bool())


@symbolic("diag_embed")
def diag_embed(x: Tensor, offset: int, dim1: int, dim2: int) -> Tensor:
    if (offset, dim1, dim2) != (0, -2, -1):
        raise unsupported("beside the main diagonal of the last dimensions")
    return x.constant(torch.eye(x.size(-1))) * x.unsqueeze(x.rank)


@symbolic("diag")
def diag(x: Tensor, diagonal: int) -> Tensor:
    if x.rank == 1 and diagonal == 0:
        return diag_embed(x, 0, -2, -1)
    if x.rank == 1:
        raise unsupported("beside the main diagonal")
    rows, columns = x.size(0), x.size(1)
    places = [i * columns + i + diagonal for i in range(rows) if 0 <= i + diagonal < columns]
    return x.flattened().gather(places, 0)


@symbolic("diff")
def diff(x: Tensor, times: int, dim: int, prepend: Optional[Tensor], append: Optional[Tensor]) -> Tensor:
    axis = x.axis(dim)
    x = concat([each for each in (prepend, x, append) if each is not None], axis)
    for _ in range(times):
        x = x.slice(axis, 1, 2**31) - x.slice(axis, 0, -1)
    return x


@symbolic("unfold", replaces=True)
def unfold(x: Tensor, dim: int, size: int, step: int) -> Tensor:
    """Windows along a dimension, their elements in a new last one. PyTorch 1.11 writes a slice for each window, and none behind a
    Reshape to computed sizes."""
    if x.rank == 0:
        raise unsupported("of a number")
    axis = x.axis(dim)
    starts = torch.arange(0, x.size(axis) - size + 1, step)
    places = x.constant(starts[:, None] + torch.arange(size), "Long")
    windows = x.gather(places, axis)  # [..., windows, size, ...]
    return windows.permute([*(each for each in range(x.rank + 1) if each != axis + 1), axis + 1])


@symbolic("take_along_dim")
def take_along_dim(x: Tensor, indices: Tensor, dim: Optional[int]) -> Tensor:
    if dim is None:
        return x.flattened().op("GatherElements", indices.flattened(), axis_i=0)
    return x.op("GatherElements", indices, axis_i=x.axis(dim))

