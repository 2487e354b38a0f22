"""Weights that decay has driven below the smallest normal number become zero.

A channel that training gives up fades towards zero and stops among the subnormal numbers. Processors compute with those
many times slower, though what they add to a sum is
lost in its last bit: half of the weights of a published segmentation network are such, and it runs eight times faster
without them, with the same outputs bit by bit. GPUs, NPUs and TensorFlow's kernels flush them to zero anyway.
"""

from typing import Any, Dict, Set

from dopt.capture.network import FLOAT, Network, captures

#: Inputs that only ever multiply or add to activations, by operator. A variance is none: its inverse is used.
_FLUSHED: Dict[str, Set[int]] = {
    "Conv": {1, 2},
    "ConvTranspose": {1, 2},
    "Gemm": {0, 1, 2},
    "MatMul": {0, 1},
    "BatchNormalization": {1, 2, 3},
    "PRelu": {1},
}
#: Elements looked at together, so that a large weight, often a memory map, is never copied whole for a look.
_PIECE = 1 << 20


def flush_subnormals(network: Network) -> None:
    """Replaces subnormal float32 numbers by zeros in the weights that layers alone read."""
    flushed = 0
    for name in sorted(_weights_of_layers(network)):
        weight = network.weights[name]
        if weight.type == FLOAT and _any_subnormal(weight.array):
            array = weight.array.copy()
            where = subnormal(array)
            array[where] = 0
            flushed += int(where.sum())
            network.weights[name] = weight._replace(array=array)
    if flushed:
        network.notes.append(f"{flushed} weights below 1.2e-38, which only slow processors down, are zero now.")


def _weights_of_layers(network: Network) -> Set[str]:
    """Weights that nothing but the inputs of ``_FLUSHED`` reads; subgraphs read what they like."""
    found: Set[str] = set()
    other: Set[str] = set(network.output_names())
    for node in network.nodes:
        places = set() if node.domain else _FLUSHED.get(node.op_type, set())
        for place, name in enumerate(node.input):
            (found if place in places else other).add(name)
        other.update(captures(node))
    return {name for name in found - other if name in network.weights}


def _any_subnormal(array: Any) -> bool:
    flat = array.reshape(-1)
    return any(bool(subnormal(flat[start : start + _PIECE]).any()) for start in range(0, flat.size, _PIECE))


def subnormal(array: Any) -> Any:
    """Where numbers of a float32 array are subnormal, told by their bits: arithmetic may be set to take them for zeros."""
    import numpy as np

    bits = np.ascontiguousarray(array).reshape(array.shape).view(np.uint32)
    return ((bits & 0x7F800000) == 0) & ((bits & 0x007FFFFF) != 0)
