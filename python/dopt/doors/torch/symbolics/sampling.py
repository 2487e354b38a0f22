"""Pictures read at places between their pixels, and pictures of another size."""

import itertools
from typing import Any, List, Optional, Tuple

import torch

from dopt.doors.torch.symbolics.algebra import Tensor, concat
from dopt.doors.torch.symbolics.registry import held, symbolic

#: ATen's numbers of the modes of grid_sample (aten/src/ATen/native/GridSamplerUtils.h).
BILINEAR, NEAREST, BICUBIC = range(3)
ZEROS, BORDER, REFLECTION = range(3)
#: The parameter of cubic convolution (Keys 1981, eq. 4) in torch; PIL's, which antialiasing follows, is -0.5.
CUBIC, CUBIC_OF_PIL = -0.75, -0.5


@symbolic("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def grid_sampler(x: Tensor, grid: Tensor, mode: int, padding: int, align_corners: bool) -> Tensor:
    """``x`` [N, C, (D,) H, W] at the places of ``grid`` [N, (D',) H', W', 2 or 3], whose last dimension counts from W back.

    Each pixel is read by its number in the flattened picture, once for each combination of the neighbours along the dimensions.
    """
    dims = x.rank - 2
    sizes = [x.size(2 + each) for each in range(dims)]
    neighbours = []
    for each, size in enumerate(sizes):
        place = grid.gather([dims - 1 - each], dims + 1).reshape([0, -1])
        place = (place + 1.0) * ((size - 1) / 2) if align_corners else ((place + 1.0) * size - 1.0) * 0.5
        neighbours.append(_neighbours(place, size, mode, padding, align_corners))
    channels_last = x.reshape([0, 0, -1]).permute([0, 2, 1])
    total: Optional[Tensor] = None
    for combination in itertools.product(*neighbours):
        pixel, weight = combination[0]
        for (step, factor), size in zip(combination[1:], sizes[1:]):
            pixel, weight = pixel * size + step, weight * factor
        read = channels_last.op("GatherND", pixel.to("Long").unsqueeze(2), batch_dims_i=1) * weight.unsqueeze(2)
        total = read if total is None else total + read
    assert total is not None
    places = grid.shape().slice(0, 1, dims + 1)
    return total.permute([0, 2, 1]).op("Reshape", concat([x.shape().slice(0, 0, 2), places], 0))


def _neighbours(place: Tensor, size: int, mode: int, padding: int, align_corners: bool) -> List[Tuple[Tensor, Tensor]]:
    """The pixels along a dimension that a place is made of: their numbers as floats within the picture, and their weights."""
    if mode != BICUBIC:
        place = _padded(place, size, padding, align_corners)
    if mode == NEAREST:
        found = [(place.op("Round"), place * 0.0 + 1.0)]
    else:
        first = place.op("Floor")
        part = place - first
        weights = [1.0 - part, part] if mode == BILINEAR else [_cubic(part, each, CUBIC) for each in (-1, 0, 1, 2)]
        start = 0 if mode == BILINEAR else -1
        found = [(first + float(start + each), weight) for each, weight in enumerate(weights)]
    if mode == BICUBIC:
        found = [(_padded(pixel, size, padding, align_corners), weight) for pixel, weight in found]
    inside = [(pixel.maximum(0.0).minimum(size - 1.0), weight) for pixel, weight in found]
    if padding != ZEROS:
        return inside
    # A pixel that had to be moved lies outside, and counts as zero.
    return [(moved, pixel.equals(moved).to(weight.kind) * weight) for (pixel, weight), (moved, _) in zip(found, inside)]


def _padded(place: Tensor, size: int, padding: int, align_corners: bool) -> Tensor:
    """Places outside the picture as the padding has them: at its border, or thrown back from it."""
    if padding == ZEROS:
        return place
    if padding == REFLECTION:
        low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
        if span == 0:
            return place * 0.0
        distance = (place - low).op("Abs")
        turns = (distance * (1.0 / span)).op("Floor")
        rest = distance - turns * span
        odd = turns - (turns * 0.5).op("Floor") * 2.0
        place = rest + odd * (span - rest * 2.0) + low
    return place.maximum(0.0).minimum(size - 1.0)


def _cubic(part: Tensor, neighbour: int, a: float) -> Tensor:
    """Weight of the neighbour at -1, 0, 1 or 2 for a place ``part`` behind the pixel at 0 (Keys 1981, eq. 4)."""
    t = part - float(neighbour) if neighbour <= 0 else float(neighbour) - part
    if neighbour in (0, 1):
        return ((a + 2) * t - (a + 3)) * t * t + 1.0
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a


@symbolic("affine_grid_generator")
def affine_grid_generator(theta: Tensor, sizes: Any, align_corners: bool) -> Tensor:
    """The grid [N, (D,) H, W, 2 or 3] of places in [-1, 1] that ``theta`` [N, 2 or 3, 3 or 4] sends the pixels to."""
    spatial = _spatial(sizes)
    dims = len(spatial)
    lines = []
    for size in spatial:
        line = torch.linspace(-1, 1, size) if size > 1 else torch.zeros(1)
        lines.append(line if align_corners else line * (size - 1) / size)
    places = torch.stack([*torch.meshgrid(*lines, indexing="ij")[::-1], torch.ones(spatial)], -1).reshape(-1, dims + 1)
    moved = theta.constant(places).matmul(theta.permute([0, 2, 1]))
    return moved.reshape([0, *spatial, dims])


def _spatial(sizes: Any) -> List[int]:
    """The sizes behind batch, which may be computed, and channels."""
    if sizes.node().kind() == "prim::ListConstruct":
        return [int(held(each)) for each in list(sizes.node().inputs())[2:]]
    return [int(each) for each in held(sizes)][2:]


@symbolic("_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d")
def upsample_nearest_exact(x: Tensor, sizes: Optional[List[int]], factors: Optional[List[float]]) -> Tensor:
    """The pixel whose middle is nearest, where plain 'nearest' rounds down."""
    settings = {"mode_s": "nearest", "coordinate_transformation_mode_s": "half_pixel", "nearest_mode_s": "round_prefer_ceil"}
    nothing = x.constant(torch.zeros(0), "Float")
    if sizes is None:
        return x.op("Resize", nothing, x.constant(torch.tensor([1.0, 1.0, *(factors or [])]), "Float"), **settings)
    wanted = concat([x.shape().slice(0, 0, 2), x.integers(sizes)], 0)
    return x.op("Resize", nothing, nothing, wanted, **settings)


@symbolic("_upsample_bilinear2d_aa")
def upsample_bilinear2d_aa(
    x: Tensor, sizes: Optional[List[int]], align_corners: bool, factors: Optional[List[float]]
) -> Tensor:
    return _antialiased(x, sizes, factors, align_corners, cubic=False)


@symbolic("_upsample_bicubic2d_aa")
def upsample_bicubic2d_aa(
    x: Tensor, sizes: Optional[List[int]], align_corners: bool, factors: Optional[List[float]]
) -> Tensor:
    return _antialiased(x, sizes, factors, align_corners, cubic=True)


def _antialiased(
    x: Tensor, sizes: Optional[List[int]], factors: Optional[List[float]], align_corners: bool, cubic: bool
) -> Tensor:
    """A product with a matrix along the rows, then one along the columns."""
    matrices = []
    for i, axis in enumerate((2, 3)):
        size = x.size(axis)
        wanted = sizes[i] if sizes else int(size * factors[i])
        ratio = (size - 1) / max(wanted - 1, 1) if align_corners else 1 / factors[i] if factors else size / wanted
        matrices.append(antialiasing(size, wanted, ratio, cubic))
    rows, columns = matrices
    return x.constant(rows).matmul(x).matmul(x.constant(columns.t().contiguous()))


def antialiasing(size: int, wanted: int, ratio: float, cubic: bool) -> Any:
    """[wanted, size]: the weights of PIL's resampling, whose filter grows with ``ratio``, pixels read for each that is written."""
    grown = max(ratio, 1.0)
    support = (2.0 if cubic else 1.0) * grown
    matrix = torch.zeros(wanted, size, dtype=torch.float64)
    for row in range(wanted):
        center = ratio * (row + 0.5)
        first, last = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), size)
        for column in range(first, last):
            matrix[row, column] = _filter(abs(column - center + 0.5) / grown, cubic)
    return (matrix / matrix.sum(1, keepdim=True)).float()


def _filter(t: float, cubic: bool) -> float:
    if not cubic:
        return max(0.0, 1.0 - t)
    a = CUBIC_OF_PIL
    if t < 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    return (((t - 5) * t + 8) * t - 4) * a if t < 2 else 0.0
