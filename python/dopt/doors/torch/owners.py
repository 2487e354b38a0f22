"""Which tensor of a network an initializer of its ONNX form is."""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple


class Owner(NamedTuple):
    """A tensor of the state dict; whether the graph has it transposed; its rows that the graph has, all of them or some."""

    name: str
    turned: bool
    rows: Tuple[int, int]

    def in_its_layout(self, value: Any) -> Any:
        """An array of the initializer's layout as the state dict has it."""
        return value.T if self.turned else value

    def axis(self, axis: Optional[int]) -> Optional[int]:
        """An axis of the initializer in the state dict's tensor."""
        return 1 - axis if self.turned and axis is not None else axis


class Owners:
    """Finds owners among the tensors of a float network; ``state``: its state dict, which must not change meanwhile."""

    def __init__(self, state: Dict[str, Any]) -> None:
        self._arrays = {name: _array(tensor) for name, tensor in state.items()}
        self._given: Set[Owner] = set()

    def find(self, name: str, value: Any) -> Optional[Owner]:
        """The owner of an initializer, by its name, else a tensor of the same numbers; None when there is none.

        The exporter keeps names, but it transposes the matrices of linear layers for MatMul, and cuts packed ones
        (attention's query, key and value) into parts. Among tensors of equal numbers (copies of a fresh layer) it is the
        next one that was not found yet: graph and state dict go through layers in the same order.
        """
        own = self._arrays.get(name)
        if own is not None and _equal(own, value):
            return Owner(name, False, (0, len(value)))
        for candidates in (self._whole(value, True), self._whole(value, False), self._parts(value)):
            found = list(candidates)
            if found:
                owner = next((each for each in found if each not in self._given), found[0])
                self._given.add(owner)
                return owner
        return None

    def _whole(self, value: Any, turned: bool) -> Iterator[Owner]:
        if turned and value.ndim != 2:
            return
        wanted = value.T if turned else value
        for name, array in self._arrays.items():
            if array is not None and _equal(array, wanted):
                yield Owner(name, turned, (0, len(wanted)))

    def _parts(self, value: Any) -> Iterator[Owner]:
        """Rows of a longer matrix, or a stretch of a longer vector."""
        wanted = value.T
        if value.ndim not in (1, 2) or len(wanted) == 0:
            return
        for name, array in self._arrays.items():
            if array is None or array.ndim != wanted.ndim or array.shape[1:] != wanted.shape[1:]:
                continue
            for start in range(0, len(array) - len(wanted) + 1, len(wanted)):
                if _equal(array[start : start + len(wanted)], wanted):
                    yield Owner(name, value.ndim == 2, (start, start + len(wanted)))


def computed_weights(path: str, state: Dict[str, Any]) -> List[str]:
    """Tensors of the ONNX file ``path`` that layers read where others have their weight, and that no tensor of the state dict is.

    The network computes them: of a weight in two parts (weight_norm), by a normalization of weights, or of its input.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    initializers = {each.name: each for each in graph.initializer}
    owners = Owners(state)
    computed = []
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        weight = node.input[1]
        held = initializers.get(weight)
        if held is None or owners.find(weight, numpy_helper.to_array(held)) is None:
            computed.append(weight)
    return computed


def _array(tensor: Any) -> Any:
    """A float tensor as a float32 array; None for others, which are no weights."""
    import numpy as np

    array = tensor.detach().cpu().numpy()
    return array.astype(np.float32) if array.dtype.kind == "f" and array.ndim > 0 else None


def _equal(array: Any, value: Any) -> bool:
    import numpy as np

    return array.shape == value.shape and np.array_equal(array, value)


def put(state: Dict[str, Any], owner: Owner, value: Any) -> None:
    """Writes the owner's rows, in its type. The tensor itself may be shared with others and stays as it is."""
    import numpy as np
    import torch

    tensor = state[owner.name].clone()
    start, end = owner.rows
    new = torch.from_numpy(np.array(value, np.float32, order="C")).to(tensor.dtype)
    tensor[start:end] = new.reshape(tensor[start:end].shape)
    state[owner.name] = tensor
