"""Which TensorFlow tensor holds what an ONNX tensor holds: by name, and always by value."""

import re
from itertools import permutations
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from dopt.doors.tensorflow.write_back.graph import Graph, node_of

#: Largest difference between equal tensors, relative to the largest value: what the parity of the conversion allows.
TOLERANCE = 1e-3
#: The same where the name does not help: neighbours must not be taken for each other.
CLOSE = 1e-4
#: What tf2onnx and its optimizers add to the name of the node that a new one was made for.
_SUFFIX = re.compile(r"(_Gemm)?__\d+$")


class Place(NamedTuple):
    """Where an ONNX tensor is in TensorFlow.

    ``order``: axes of the ONNX tensor in the order in which TensorFlow stores them; ``onnx_shape`` and ``shape`` are the
    two shapes. ``rank``: how much it takes for them to agree, 0 nothing, 1 the channels moved last, 2 reshaping, 3 both, 4
    other axes exchanged (the heads of attention).
    """

    tensor: str
    order: Tuple[int, ...]
    onnx_shape: Tuple[int, ...]
    shape: Tuple[int, ...]
    rank: int

    def axis(self, axis: int) -> Optional[int]:
        """The axis of the TensorFlow tensor that an axis of the ONNX tensor has become; None when it was reshaped away."""
        axis = axis % len(self.onnx_shape)
        sizes = [self.onnx_shape[each] for each in self.order]
        behind = _product(sizes[self.order.index(axis) + 1 :])
        for other, size in enumerate(self.shape):
            if size == self.onnx_shape[axis] and _product(self.shape[other + 1 :]) == behind:
                return other
        return None


def locate_tensors(graph: Graph, model: Any, borders: Any, onnx: Dict[str, List[Any]], framework: Any) -> Dict[str, Place]:
    """Places of the ONNX tensors that TensorFlow computes too.

    ``onnx`` and ``framework``: values by tensor name, one array for each run (probe.py). A tensor has the TensorFlow
    tensor of its name when the values agree; else the one with the same values that needs the least reshaping, then the
    first in topological order behind the tensors that its node reads.
    """
    by_size: Dict[int, List[str]] = {}
    for name, values in framework.items():
        by_size.setdefault(values[0].size, []).append(name)
    order = {name: place for place, name in enumerate(sorted(framework, key=lambda each: _position(graph, each)))}
    found: Dict[str, Place] = {}
    for each in (*borders["inputs"], *borders["outputs"]):
        name, tensor = each["name"], each["frameworkName"]
        if name in onnx and tensor in framework:
            place = _same(tensor, onnx[name], framework[tensor], TOLERANCE)
            if place is not None:
                found[name] = place
    for node in model.graph.node:
        earliest = max((order[found[name].tensor] for name in node.input if name in found), default=-1)
        for name in node.output:
            if name in found or name not in onnx:
                continue
            candidates = by_size.get(onnx[name][0].size, [])
            behind = [each for each in candidates if order[each] >= earliest]
            place = _best(name, onnx[name], {each: framework[each] for each in behind}, order)
            if place is not None:
                found[name] = place
    return found


def base_name(name: str) -> str:
    """The TensorFlow name that a name of the converter's was made from."""
    return _SUFFIX.sub("", name.rpartition(":")[0] or name)


def _best(name: str, values: List[Any], candidates: Dict[str, List[Any]], order: Dict[str, int]) -> Optional[Place]:
    if name in candidates:
        named = _same(name, values, candidates[name], TOLERANCE)
        if named is not None:
            return named
    places = [_same(each, values, found, CLOSE) for each, found in candidates.items()]
    return min(
        (place for place in places if place is not None), key=lambda place: (place.rank, order[place.tensor]), default=None
    )


def _same(tensor: str, values: List[Any], others: List[Any], tolerance: float) -> Optional[Place]:
    """How a TensorFlow tensor holds the values, None when it does not."""
    shape, other = values[0].shape, others[0].shape
    if values[0].size != others[0].size or len(values) != len(others):
        return None
    for rank, order in _forms(len(shape)):
        if rank not in (2, 3) and tuple(shape[each] for each in order) != other:
            continue
        if all(_close(value.transpose(order).reshape(found.shape), found, tolerance) for value, found in _pairs(values, others)):
            return Place(tensor, order, tuple(shape), tuple(other), rank)
    return None


def _forms(rank: int) -> Iterator[Tuple[int, Tuple[int, ...]]]:
    """Ways from an ONNX tensor to a TensorFlow tensor, as Place has them, with the least first."""
    same = tuple(range(rank))
    yield 0, same
    if rank >= 3:
        yield 1, _channels_last(rank)
    yield 2, same
    if rank >= 3:
        yield 3, _channels_last(rank)
    if rank in (3, 4):
        for order in permutations(range(1, rank)):
            if (0, *order) not in (same, _channels_last(rank)):
                yield 4, (0, *order)


def _pairs(values: List[Any], others: List[Any]) -> Any:
    return [(value, other) for value, other in zip(values, others) if value.size == other.size]


def _close(value: Any, other: Any, tolerance: float) -> bool:
    import numpy as np

    finite = np.isfinite(value)
    if not np.array_equal(finite, np.isfinite(other)):
        return False
    scale = np.max(np.abs(value), where=finite, initial=0.0)
    return bool(np.max(np.abs(value - other), where=finite, initial=0.0) <= tolerance * scale)


def _channels_last(rank: int) -> Tuple[int, ...]:
    return (0, *range(2, rank), 1)


def _position(graph: Graph, tensor: str) -> Tuple[int, str]:
    return graph.position.get(node_of(tensor), -1), tensor


def _product(sizes: Sequence[int]) -> int:
    count = 1
    for size in sizes:
        count *= size
    return count
