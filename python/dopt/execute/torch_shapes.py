"""Operators of ONNX that move values, in PyTorch; see ``torch_ops``."""

from typing import Any, List, Sequence, Tuple

from dopt.execute.torch_node import Unsupported, numbers


def _reshape(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    x, wanted = inputs[0], numbers(inputs[1])
    if not a.get("allowzero", 0):
        wanted = [x.shape[at] if extent == 0 else extent for at, extent in enumerate(wanted)]
    return x.reshape(wanted)


def _transpose(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    x = inputs[0]
    return x.permute(*a.get("perm", list(reversed(range(x.dim())))))


def _flatten(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    x, axis, rows = inputs[0], a.get("axis", 1), 1
    for extent in x.shape[: axis if axis >= 0 else x.dim() + axis]:
        rows *= extent
    return x.reshape(rows, -1)


def _squeeze(_a: Any, inputs: Sequence[Any], _count: int) -> Any:
    x = inputs[0]
    if len(inputs) < 2 or inputs[1] is None:
        return x.squeeze()
    gone = {axis % x.dim() for axis in numbers(inputs[1])}
    return x.reshape([extent for at, extent in enumerate(x.shape) if at not in gone])


def _unsqueeze(_a: Any, inputs: Sequence[Any], _count: int) -> Any:
    x, axes = inputs[0], numbers(inputs[1])
    rank = x.dim() + len(axes)
    for axis in sorted(each % rank for each in axes):
        x = x.unsqueeze(axis)
    return x


def _concat(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    import torch

    return torch.cat(list(inputs), a.get("axis"))


def _split(a: Any, inputs: Sequence[Any], count: int) -> Any:
    x, axis = inputs[0], a.get("axis", 0)
    if len(inputs) > 1 and inputs[1] is not None:
        return tuple(x.split(numbers(inputs[1]), axis))
    return tuple(x.split(-(-x.shape[axis] // count), axis))


def _slice(_a: Any, inputs: Sequence[Any], _count: int) -> Any:
    import torch

    x, starts, ends, axes, steps = (*inputs, None, None)[:5]
    starts, ends = numbers(starts), numbers(ends)
    axes = list(range(len(starts))) if axes is None else numbers(axes)
    steps = [1] * len(starts) if steps is None else numbers(steps)
    for start, end, axis, step in zip(starts, ends, axes, steps):
        places = range(*slice(start, end, step).indices(x.shape[axis]))
        if step == 1:
            x = x.narrow(axis, places.start if len(places) else 0, len(places))
        else:
            x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64, device=x.device))
    return x


def _gather(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    import torch

    x, indices = inputs[0], inputs[1].to(torch.int64)
    axis = a.get("axis", 0) % x.dim()
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    found = x.index_select(axis, indices.reshape(-1))
    return found.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def _expand(_a: Any, inputs: Sequence[Any], _count: int) -> Any:
    import torch

    shape = torch.broadcast_shapes(tuple(inputs[0].shape), tuple(numbers(inputs[1])))
    return inputs[0].expand(shape)


def _tile(_a: Any, inputs: Sequence[Any], _count: int) -> Any:
    return inputs[0].repeat(*numbers(inputs[1]))


def _pad(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    from torch.nn import functional

    x, pads, value, axes = (*inputs, None, None)[:4]
    pads = numbers(pads)
    axes = list(range(x.dim())) if axes is None else [axis % x.dim() for axis in numbers(axes)]
    both: List[Tuple[int, int]] = [(0, 0)] * x.dim()
    for at, axis in enumerate(axes):
        both[axis] = (pads[at], pads[at + len(axes)])
    flat = [amount for pair in reversed(both) for amount in pair]
    mode = a.get("mode", "constant")
    if mode == "constant":
        return functional.pad(x, flat, value=0 if value is None else value.reshape(()).item())
    if mode not in ("reflect", "edge") or any(pair != (0, 0) for pair in both[:2]) or not 3 <= x.dim() <= 5 or min(flat) < 0:
        raise Unsupported()
    return functional.pad(x, flat[: 2 * (x.dim() - 2)], mode="reflect" if mode == "reflect" else "replicate")


def _depth_to_space(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    x, size = inputs[0], a.get("blocksize")
    n, channels, height, width = x.shape
    if a.get("mode", "DCR") == "DCR":
        parts = x.reshape(n, size, size, channels // size**2, height, width).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, channels // size**2, size, size, height, width).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, channels // size**2, height * size, width * size)


def _space_to_depth(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    x, size = inputs[0], a.get("blocksize")
    n, channels, height, width = x.shape
    parts = x.reshape(n, channels, height // size, size, width // size, size).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, channels * size**2, height // size, width // size)


def _shape(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    """On the processor: shapes are numbers that programs read."""
    import torch

    extents = list(inputs[0].shape)
    return torch.tensor(extents[slice(a.get("start", 0), a.get("end"))], dtype=torch.int64)


def _constant_of_shape(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    import torch
    from onnx import numpy_helper

    value = a.get("value")
    shape = numbers(inputs[0])
    if value is None:
        return torch.zeros(shape)
    return torch.from_numpy(numpy_helper.to_array(value).copy()).reshape(()).expand(shape)


SHAPES = {
    "Reshape": _reshape, "Transpose": _transpose, "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Concat": _concat, "Split": _split, "Slice": _slice, "Gather": _gather, "Expand": _expand, "Tile": _tile, "Pad": _pad,
    "DepthToSpace": _depth_to_space, "SpaceToDepth": _space_to_depth, "Shape": _shape, "ConstantOfShape": _constant_of_shape,
}  # fmt: skip
