"""Many numbers to one."""

import math
from typing import Any, List, Optional, Tuple

from dopt.doors.torch.symbolics.algebra import Tensor, unsupported
from dopt.doors.torch.symbolics.registry import Original, symbolic


@symbolic("amax")
def amax(x: Tensor, dims: List[int], keepdim: bool) -> Tensor:
    return x.reduce("ReduceMax", dims, keepdim)


@symbolic("amin")
def amin(x: Tensor, dims: List[int], keepdim: bool) -> Tensor:
    return x.reduce("ReduceMin", dims, keepdim)


@symbolic("aminmax")
def aminmax(x: Tensor, dim: Optional[int], keepdim: bool) -> Tuple[Tensor, Tensor]:
    dims = None if dim is None else [dim]
    return x.reduce("ReduceMin", dims, keepdim), x.reduce("ReduceMax", dims, keepdim)


def vector_norm(x: Tensor, p: float, dims: Optional[List[int]], keepdim: bool) -> Tensor:
    """(sum of |x|^p)^(1/p) over ``dims``, all where there are none."""
    if p in (1, 2):
        return x.reduce(f"ReduceL{int(p)}", dims, keepdim)
    if abs(p) == math.inf:
        return x.op("Abs").reduce("ReduceMax" if p > 0 else "ReduceMin", dims, keepdim)
    if p == 0:
        return (~x.equals(0)).to(x.kind).sum(dims or range(x.rank), keepdim)
    return (x.op("Abs") ** p).sum(dims or range(x.rank), keepdim) ** (1.0 / p)


@symbolic("norm", replaces=True)
def norm(
    x: Tensor, p: Optional[float], dims: Optional[List[int]] = None, keepdim: bool = False, _dtype: Any = None, *, original: Original
) -> Any:
    """torch knows p of 1 and 2."""
    return original() if p in (None, 1, 2) else vector_norm(x, p, dims, keepdim)


@symbolic("linalg_vector_norm")
def linalg_vector_norm(x: Tensor, p: float, dims: Optional[List[int]], keepdim: bool, _dtype: Any) -> Tensor:
    return vector_norm(x, p, dims, keepdim)


@symbolic("linalg_norm")
def linalg_norm(x: Tensor, p: Optional[float], dims: Optional[List[int]], keepdim: bool, _dtype: Any) -> Tensor:
    """Of a vector; of a matrix Frobenius' norm alone, which is that of its numbers in a row."""
    if p is not None and len(dims or range(x.rank)) > 1:
        raise unsupported("for this norm of matrices")
    return vector_norm(x, 2 if p is None else p, dims, keepdim)


@symbolic("nansum")
def nansum(x: Tensor, dims: Optional[List[int]] = None, keepdim: bool = False, _dtype: Any = None) -> Tensor:
    clean = x.isnan().where(0.0, x)
    return clean.sum(dims if dims else range(x.rank), keepdim)


@symbolic("count_nonzero")
def count_nonzero(x: Tensor, dims: Optional[List[int]] = None) -> Tensor:
    counted = (~x.equals(0)) if x.kind != "Bool" else x
    return counted.to("Long").sum(dims if dims else range(x.rank))


@symbolic("trace")
def trace(x: Tensor) -> Tensor:
    rows, columns = x.size(0), x.size(1)
    return x.flattened().gather([i * columns + i for i in range(min(rows, columns))], 0).sum([0])


def _smallest(x: Tensor, k: int, dim: int, keepdim: bool) -> Tuple[Tensor, Tensor]:
    """The k-th smallest along a dimension, and where it stands."""
    axis = x.axis(dim)
    values, indices = x.graph.op("TopK", x.value, x.integers([k]).value, axis_i=axis, largest_i=0, sorted_i=1, outputs=2)
    found = []
    for value, kind in ((values, x.kind), (indices, "Long")):
        last = Tensor(x.graph, value, kind).slice(axis, k - 1, k)
        found.append(last if keepdim else last.squeeze(axis))
    return found[0], found[1]


@symbolic("kthvalue")
def kthvalue(x: Tensor, k: int, dim: int, keepdim: bool) -> Tuple[Tensor, Tensor]:
    return _smallest(x, k, dim, keepdim)


@symbolic("median")
def median(x: Tensor, dim: Optional[int] = None, keepdim: bool = False) -> Any:
    """Of an even count the lower one of the two in the middle."""
    if dim is None:
        raise unsupported("over all dimensions, for their number depends on the batch")
    return _smallest(x, (x.size(dim) + 1) // 2, dim, keepdim)


@symbolic("msort")
def msort(x: Tensor) -> Tensor:
    values, _ = x.graph.op(
        "TopK", x.value, x.shape().slice(0, 0, 1).value, axis_i=0, largest_i=0, sorted_i=1, outputs=2
    )
    return Tensor(x.graph, values, x.kind)


@symbolic("bucketize")
def bucketize(x: Tensor, boundaries: Tensor, int32: bool, right: bool) -> Tensor:
    """How many boundaries lie below each number; with ``right``, one equal to it counts as below."""
    each = x.unsqueeze(x.rank)
    below = each >= boundaries if right else each > boundaries
    return below.to("Int" if int32 else "Long").sum([x.rank])


@symbolic("searchsorted")
def searchsorted(sequence: Tensor, x: Tensor, int32: bool, right: bool, side: Any = None, sorter: Any = None) -> Tensor:
    if sequence.rank != 1:
        raise unsupported("in sequences of more than one dimension")
    return bucketize(x, sequence, int32, right)


@symbolic("scatter_add", replaces=True)
def scatter_add(x: Tensor, dim: int, index: Tensor, source: Tensor, original: Original) -> Tensor:
    """torch lets the last of several numbers for one place win. Here each source meets its place in a product with a one-hot matrix,
    whose memory is that of the sources times the size of the dimension."""
    axis = x.axis(dim)
    others = [each for each in range(x.rank) if each != axis]
    if any(index.size(each) != x.size(each) for each in others if each != 0):
        raise unsupported("where index and tensor differ in another dimension")
    order = [*others, axis]
    places = x.integers(range(x.size(axis)))
    hits = index.permute(order).unsqueeze(x.rank).equals(places).to(x.kind)
    sums = source.permute(order).unsqueeze(x.rank).op("Mul", hits).sum([x.rank - 1])
    return x + sums.permute([order.index(each) for each in range(x.rank)])
