"""Transposes that converters leave around a function of each element: behind the function, where pairs of them cancel.

A TensorFlow graph keeps channels last. tf2onnx moves its transposes through the operators it knows, and a spelled-out PReLU
is none of them: the layer before it and the function would not be neighbours.
"""

from typing import Any, List, Optional, Sequence

from dopt.capture.network import Network, Weight, attribute, reads, unique_name

_FUNCTIONS = {"PRelu", "LeakyRelu", "Relu", "Sigmoid", "Tanh", "Clip"}


def settle_transposes(network: Network) -> bool:
    """Moves transposes behind functions that alone read them, and drops pairs that cancel; whether there were any."""
    moved = any([_move(network, node) for node in network.nodes if node.op_type in _FUNCTIONS and not node.domain])
    cancelled = _cancel(network)
    return moved or cancelled


def _move(network: Network, function: Any) -> bool:
    """``Transpose, function`` as ``function, Transpose``: the two nodes change places, and keep their names."""
    producers = {name: node for node in network.nodes for name in node.output}
    transpose = producers.get(function.input[0])
    order = _order(transpose)
    if order is None or _reads(network, transpose.output[0]) != 1 or transpose.output[0] in network.output_names():
        return False
    slope = None
    if function.op_type == "PRelu":
        slope = _slope_before(network, function, order)
        if slope is None:
            return False
    before, after = type(function)(), type(transpose)()
    before.CopyFrom(function)
    after.CopyFrom(transpose)
    before.input[0], before.output[0] = transpose.input[0], transpose.output[0]
    after.input[0], after.output[0] = transpose.output[0], function.output[0]
    if slope is not None:
        name = unique_name(f"{function.input[1]}/moved", network.tensor_names())
        network.weights[name] = slope
        before.input[1] = name
    function.CopyFrom(after)
    transpose.CopyFrom(before)
    return True


def _slope_before(network: Network, function: Any, order: Sequence[int]) -> Optional[Weight]:
    """The slope of a PRelu for a tensor whose axes were not yet put into ``order``."""
    import numpy as np

    weight = network.weights.get(function.input[1])
    if weight is None or weight.array.ndim > len(order):
        return None
    full = weight.array.reshape((1,) * (len(order) - weight.array.ndim) + weight.array.shape)
    moved = full.transpose(np.argsort(order))
    while moved.ndim > 1 and moved.shape[0] == 1:
        moved = moved[0]
    return Weight(weight.type, np.ascontiguousarray(moved))


def _cancel(network: Network) -> bool:
    """Transposes of transposes that give the first one's input again become Identity."""
    producers = {name: node for node in network.nodes for name in node.output}
    found = False
    for node in network.nodes:
        second = _order(node)
        first = producers.get(node.input[0]) if second is not None else None
        order = _order(first)
        if order is not None and len(order) == len(second) and [order[each] for each in second] == list(range(len(order))):
            node.op_type = "Identity"
            del node.attribute[:]
            node.input[0] = first.input[0]
            found = True
    return found


def _order(node: Any) -> Optional[List[int]]:
    if node is None or node.op_type != "Transpose" or node.domain:
        return None
    permutation = attribute(node, "perm")
    return None if permutation is None else list(permutation.ints)


def _reads(network: Network, tensor: str) -> int:
    return sum(reads(node).count(tensor) for node in network.nodes)
