"""Sums of products, and distances."""

from typing import List, Optional

from dopt.doors.torch.symbolics.algebra import Tensor, concat, unsupported
from dopt.doors.torch.symbolics.reductions import vector_norm
from dopt.doors.torch.symbolics.registry import symbolic


@symbolic("inner")
def inner(a: Tensor, b: Tensor) -> Tensor:
    if b.rank > 2:
        raise unsupported("with a second tensor of more than two dimensions")
    return a.matmul(b if b.rank == 1 else b.permute([1, 0]))


@symbolic("vdot")
def vdot(a: Tensor, b: Tensor) -> Tensor:
    return a.matmul(b)


@symbolic("linalg_multi_dot", "chain_matmul")
def multi_dot(parts: List[Tensor]) -> Tensor:
    product = parts[0]
    for each in parts[1:]:
        product = product.matmul(each)
    return product


@symbolic("kron")
def kron(a: Tensor, b: Tensor) -> Tensor:
    if a.rank != b.rank:
        raise unsupported("of tensors with different numbers of dimensions")
    rank = a.rank
    spread = a.unsqueeze(*range(1, 2 * rank, 2)) * b.unsqueeze(*range(0, 2 * rank, 2))
    return spread.reshape([-1, *(a.size(each) * b.size(each) for each in range(1, rank))])


@symbolic("cross", "linalg_cross")
def cross(a: Tensor, b: Tensor, dim: Optional[int]) -> Tensor:
    if dim is None:
        raise unsupported("without a dimension")
    axis = a.axis(dim)
    first, second = [1, 2, 0], [2, 0, 1]
    return a.gather(first, axis) * b.gather(second, axis) - a.gather(second, axis) * b.gather(first, axis)


@symbolic("bilinear")
def bilinear(a: Tensor, b: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    """y[..., o] = sum over i, j of a[..., i] * weight[o, i, j] * b[..., j] + bias[o]."""
    outputs, _, columns = (weight.size(each) for each in range(3))
    flat = weight.permute([1, 0, 2]).reshape([-1, outputs * columns])
    split = concat([a.shape().slice(0, 0, a.rank - 1), a.integers([outputs, columns])], 0)
    rows = a.matmul(flat).op("Reshape", split)
    product = rows.matmul(b.unsqueeze(b.rank)).squeeze(a.rank)
    return product if bias is None else product + bias


@symbolic("cdist", replaces=True)
def cdist(a: Tensor, b: Tensor, p: float, _mode: Optional[int] = None) -> Tensor:
    """torch takes another norm than the second for the first power of the differences."""
    return vector_norm(a.unsqueeze(a.rank - 1) - b.unsqueeze(b.rank - 2), p, [a.rank], False)


@symbolic("pairwise_distance", replaces=True)
def pairwise_distance(a: Tensor, b: Tensor, p: float, eps: float, keepdim: bool) -> Tensor:
    return vector_norm(a - b + eps, p, [a.rank - 1], keepdim)


@symbolic("dist")
def dist(a: Tensor, b: Tensor, p: float) -> Tensor:
    return vector_norm(a - b, p, list(range(a.rank)), False)


@symbolic("cosine_similarity", replaces=True)
def cosine_similarity(a: Tensor, b: Tensor, dim: int, eps: float) -> Tensor:
    """PyTorch 1.11 has a function for it, which refuses."""
    product = (a * b).sum([dim])
    squares = (a * a).sum([dim]) * (b * b).sum([dim])
    return product / squares.maximum(eps * eps).op("Sqrt")
