"""Layers of the ONNX form under the names that they have in the user's graph.

The converter merges a convolution with its bias and calls it after that, or numbers it; users name the node that has the
weight (to exclude it, to find it in the parameters), and the variable.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Set

#: Operators that the converter puts behind an input, and how its names end.
_MOVING = {"Transpose", "Reshape", "Squeeze", "Unsqueeze"}
_MADE = re.compile(r"__\d+(:\d+)?$")


class _Layer(NamedTuple):
    """A layer of TensorFlow: node, index and value of its weight, and the constant that the weight is stored in."""

    node: Any
    index: int
    weight: Any
    constant: Optional[str]


def name_layers(model: Any, graph_def: Any, session: Any) -> None:
    """Renames nodes with weights, and their initializers, after their counterparts in the graph; found by the numbers."""
    from onnx import numpy_helper

    from dopt.doors.tensorflow.write_back.layouts import COUNTERPARTS

    counterparts = {**COUNTERPARTS, "Einsum": ("Einsum",)}
    initializers = {each.name: each for each in model.graph.initializer}
    layers = _layers(graph_def, session)
    nodes = {node.name for node in model.graph.node}
    tensors = set(initializers) | {name for node in model.graph.node for name in [*node.input, *node.output]}
    used: Set[int] = set()
    renamed: Dict[str, str] = {}
    for node in model.graph.node:
        weights = [name for name in node.input[:2] if name in initializers]
        if node.op_type not in counterparts or node.domain or len(weights) != 1:
            continue
        array = numpy_helper.to_array(initializers[weights[0]])
        place = _find(node, array, layers, counterparts[node.op_type], used)
        if place is None:
            continue
        used.add(place)
        layer = layers[place]
        if layer.node.name not in nodes:
            nodes.add(layer.node.name)
            node.name = layer.node.name
        alone = sum(list(each.input).count(weights[0]) for each in model.graph.node) == 1
        if layer.constant is not None and layer.constant not in tensors and alone:
            tensors.add(layer.constant)
            renamed[weights[0]] = layer.constant
    for old, new in renamed.items():
        initializers[old].name = new
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)


def name_moved_inputs(model: Any) -> None:
    """Calls what the converter makes of an input, before any layer reads it, after the input: ``x/transpose``.

    That is the tensor which a network's first layer reads, and so the one that is quantized.
    """
    inputs = {value.name for value in model.graph.input}
    kept = {value.name for value in model.graph.output}
    taken = {name for node in model.graph.node for name in (node.name, *node.output)}
    renamed: Dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in _MOVING or node.input[0] not in inputs or not _MADE.search(node.output[0]):
            continue
        name = f"{node.input[0]}/{node.op_type.lower()}"
        if node.output[0] not in kept and name not in taken:
            taken.add(name)
            renamed[node.output[0]] = node.name = name
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)


def _layers(graph_def: Any, session: Any) -> List[_Layer]:
    """Layers whose weight is a constant, in topological order."""
    from dopt.doors.tensorflow.write_back.graph import Graph
    from dopt.doors.tensorflow.write_back.layers import weight_tensors
    from dopt.doors.tensorflow.write_back.layouts import weight_indices

    graph = Graph(graph_def)
    tensors = sorted(weight_tensors(graph))
    values = dict(zip(tensors, session.run(tensors, {}))) if tensors else {}
    found = []
    for name in sorted(graph.position, key=lambda each: graph.position[each]):
        inputs = graph.inputs(name)
        for index in weight_indices(graph.nodes[name].op):
            if index < len(inputs) and inputs[index] in values:
                constant = _constant(graph, inputs[index])
                found.append(_Layer(graph.nodes[name], index, values[inputs[index]], constant))
    return found


def _constant(graph: Any, tensor: str) -> Optional[str]:
    """The Const node behind a tensor, or None where the weight is computed."""
    name = tensor.rpartition(":")[0]
    while graph.nodes[name].op == "Identity":
        name = graph.inputs(name)[0].rpartition(":")[0]
    return name if graph.nodes[name].op == "Const" else None


def _find(node: Any, array: Any, layers: List[_Layer], ops: Any, used: Set[int]) -> Optional[int]:
    """The first unused layer with this weight: the same numbers, or else the same up to a factor for each channel."""
    import numpy as np

    from dopt.doors.tensorflow.write_back.layouts import find_layout

    axis = _channel_axis(node, array)
    # Rows of one element are any other row up to a factor.
    factors = axis if axis is not None and array.size > array.shape[axis] else None
    near = None
    for place, layer in enumerate(layers):
        if place in used or layer.node.op not in ops or layer.weight.size != array.size:
            continue
        if node.op_type == "Einsum":
            if layer.weight.shape == array.shape and np.array_equal(layer.weight, array):
                return place
            continue
        layout = find_layout(layer.node, layer.index, layer.weight, array, factors)
        if layout is not None and np.array_equal(layout.to_onnx(layer.weight), array):
            return place
        near = place if near is None and layout is not None else near
    return near


def _channel_axis(node: Any, array: Any) -> Optional[int]:
    transposed = any(each.name == "transB" and each.i for each in node.attribute)
    axis = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if transposed else 1, "MatMul": array.ndim - 1}.get(node.op_type)
    return axis if axis is not None and axis < array.ndim else None
