"""A frozen graph made ready for the converter: shapes put in, shape arithmetic folded, weights as the user's file has them."""

from typing import Any, Dict, List, Optional, Set

from dopt.doors.tensorflow.border import source
from dopt.doors.tensorflow.spelled import spell

#: Constants with fewer elements are left to the optimizer: axes, sizes, scalars.
_WEIGHT_ELEMENTS = 2


def prepare(
    graph_def: Any, inputs: List[str], outputs: List[str], shapes: Dict[str, List[Optional[int]]]
) -> Any:
    """A copy of the graph with ``shapes`` at its placeholders, functions inlined, constants folded by TensorFlow, and what tf2onnx
    does not know spelled with other operators.

    TensorFlow's folding also multiplies scales into the weights of convolutions behind them (the sixth of a hard-swish, a
    preprocessing factor), which hides the function and leaves weights that the user's file does not have. It is kept from
    that by placeholders in the place of the weights.
    """
    import tensorflow as tf
    from tf2onnx import tf_loader

    graph = type(graph_def)()
    graph.CopyFrom(graph_def)
    for node in graph.node:
        # Left by tf2onnx and TensorFlow 1; shapes are inferred anew from what is put in here.
        node.attr.pop("_output_shapes", None)
        shape = shapes.get(f"{node.name}:0")
        if node.op == "Placeholder" and shape is not None:
            _set_shape(node, shape)
    weights = _hide_weights(graph)
    with tf.Graph().as_default():
        optimized = tf_loader.tf_optimize(list(inputs), list(outputs), graph)
    for node in optimized.node:
        if node.name in weights:
            node.CopyFrom(weights[node.name])
    return spell(optimized)


def _set_shape(node: Any, shape: List[Optional[int]]) -> None:
    del node.attr["shape"].shape.dim[:]
    node.attr["shape"].shape.unknown_rank = False
    for size in shape:
        node.attr["shape"].shape.dim.add(size=-1 if size is None else size)


def _hide_weights(graph: Any) -> Dict[str, Any]:
    """Makes constants that layers read into placeholders of the same shape; returns the constants by name."""
    nodes = {node.name: node for node in graph.node}
    hidden: Dict[str, Any] = {}
    for name in _weights(graph, nodes):
        node = nodes[name]
        tensor = node.attr["value"].tensor
        sizes = [dim.size for dim in tensor.tensor_shape.dim]
        dtype = node.attr["dtype"].type
        kept = type(node)()
        kept.CopyFrom(node)
        hidden[name] = kept
        node.op = "Placeholder"
        node.attr.clear()
        node.attr["dtype"].type = dtype
        _set_shape(node, sizes)
    return hidden


def _weights(graph: Any, nodes: Dict[str, Any]) -> Set[str]:
    """Names of constants that a layer reads as its weight, straight or through Identity."""
    from dopt.doors.tensorflow.write_back.layouts import weight_indices

    found = set()
    for node in graph.node:
        data = [name for name in node.input if not name.startswith("^")]
        for index in weight_indices(node.op):
            if index >= len(data):
                continue
            reached = nodes.get(source(data[index]))
            while reached is not None and reached.op == "Identity":
                reached = nodes.get(source(reached.input[0]))
            if reached is not None and reached.op == "Const" and _elements(reached) >= _WEIGHT_ELEMENTS:
                found.add(reached.name)
    return found


def _elements(node: Any) -> int:
    count = 1
    for dim in node.attr["value"].tensor.tensor_shape.dim:
        count *= dim.size
    return count
