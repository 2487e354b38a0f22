"""Layers with weights on the grid: the edits of the graph."""

from typing import Any, List, Optional, Sequence

from dopt.doors.tensorflow.write_back.graph import SAME_ORDER, Graph, node_of, set_input
from dopt.doors.tensorflow.write_back.layers import FOLDED, MappedLayer
from dopt.doors.tensorflow.write_back.layouts import output_sizes
from dopt.doors.tensorflow.write_back.quantizers import const_node, float_node

#: Axis of the channels in a layer's result by the node's data_format; the last one where it has none.
_FIRST_CHANNELS = {b"NCHW", b"NCDHW"}


def write_layer(graph: Graph, mapped: MappedLayer, numbers: Any, notes: List[str]) -> None:
    """Puts the folded weight and bias of a layer into the graph, under the names that its readers know.

    What lies between the layer's node and its tail is left out: a scale for each channel is in the weight now, and one
    BiasAdd adds what is left, under the tail's name. Nodes that others read as well keep their numbers: then the layer gets
    nodes of its own. ``numbers``: arrays of the safetensors file that src/config/write-back.ts describes.
    """
    name = mapped.entry["name"]
    weight = mapped.layout.to_tensorflow(_folded(numbers, mapped.entry))
    bias = numbers.get(f"{name}/bias")
    own = _own_nodes(graph, mapped)
    if not own:
        notes.append(f"{name}: what {mapped.node!r} computes is read elsewhere as well, so the layer has nodes of its own.")
    node = _copy(graph.nodes[mapped.node])
    if not own:
        node.name = graph.free_name(f"{mapped.node}/quantized")
    graph.nodes[node.name] = node
    _write_weight(graph, node, mapped, weight, own, notes)
    moving = [each for each in mapped.path if graph.nodes[each].op not in FOLDED]
    axis = _axis_at_tail(mapped)
    result = f"{node.name}:0"
    if bias is None or (len(moving) == len(mapped.path) and not bias.any()):
        _chain(graph, result, moving, mapped.tail, own)
    elif not mapped.path:
        # Everybody reads the layer's own name, so the BiasAdd takes it.
        node = _copy(node)
        node.name = graph.free_name(f"{mapped.node}/linear")
        graph.nodes[node.name] = node
        sizes = output_sizes(node, mapped.weight_index, mapped.layout)
        _put_bias(graph, mapped.node, f"{node.name}:0", bias, _channels_first(node), sizes)
    elif mapped.tail not in moving and axis is not None:
        last = _chain(graph, result, moving, mapped.tail, own)
        _put_bias(graph, mapped.tail, last, bias, axis != len(mapped.place.shape) - 1)
    else:
        biased = graph.free_name(f"{node.name}/biased")
        _put_bias(graph, biased, result, bias, _channels_first(node), output_sizes(node, mapped.weight_index, mapped.layout))
        last = _chain(graph, f"{biased}:0", moving, mapped.tail, own)
        if mapped.tail not in moving:
            graph.nodes[mapped.tail] = float_node(mapped.tail, "Identity", [last])


def _folded(numbers: Any, entry: Any) -> Any:
    """The weight as DequantizeLinear gives it: integers · scale in float32, in the shape of the initializer."""
    import numpy as np

    integers = np.asarray(numbers[f"{entry['name']}/weight/integers"]).astype(np.float32)
    scale = np.asarray(numbers[f"{entry['name']}/weight/scale"])
    if entry["axis"] is not None and scale.size > 1:
        shape = [1] * integers.ndim
        shape[entry["axis"]] = scale.size
        scale = scale.reshape(shape)
    return integers * scale


def _own_nodes(graph: Graph, mapped: MappedLayer) -> bool:
    """Whether nobody else reads what the layer's nodes before the tail compute."""
    names = [mapped.node, *mapped.path]
    return all(graph.consumers(name) <= set(names) for name in names[:-1])


def _write_weight(graph: Graph, node: Any, mapped: MappedLayer, weight: Any, own: bool, notes: List[str]) -> None:
    """Changes the constant in place when this layer alone reads it, else gives the layer a constant of its own."""
    import numpy as np

    chain = [node_of(graph.inputs(mapped.node)[mapped.weight_index])]
    while graph.nodes[chain[-1]].op in SAME_ORDER:
        chain.append(node_of(graph.inputs(chain[-1])[0]))
    constant = graph.nodes[chain[-1]]
    shared = [each for each in chain if len(graph.consumers(each)) > 1]
    if own and not shared and constant.op == "Const":
        shape = [dim.size for dim in constant.attr["value"].tensor.tensor_shape.dim]
        changed = const_node(constant.name, np.ascontiguousarray(weight.reshape(shape)))
        changed.input.extend(constant.input)
        graph.nodes[constant.name] = changed
        return
    if shared:
        notes.append(f"{mapped.entry['name']}: {shared[0]!r} has other readers, so the layer has a weight of its own.")
    set_input(node, mapped.weight_index, graph.add(const_node(graph.free_name(f"{mapped.node}/weight"), weight)))


def _chain(graph: Graph, tensor: str, moving: List[str], tail: str, own: bool) -> str:
    """Lets the nodes that only move values read on from ``tensor``; returns the last one's tensor.

    Nodes that are read elsewhere as well are copied (``own`` false); the layer's tail keeps its name in any case.
    """
    for name in moving:
        node = _copy(graph.nodes[name])
        if not own and name != tail:
            node.name = graph.free_name(f"{name}/quantized")
        set_input(node, 0, tensor)
        graph.nodes[node.name] = node
        tensor = f"{node.name}:0"
    return tensor


def _put_bias(
    graph: Graph, name: str, tensor: str, bias: Any, channels_first: bool, sizes: Sequence[int] = ()
) -> None:
    """A node called ``name`` that adds ``bias``, one value a channel, to ``tensor``.

    BiasAdd, or AddV2 where the channels lie along several last axes of the given ``sizes``.
    """
    if len(sizes) > 1:
        value = graph.add(const_node(graph.free_name(f"{name}/bias"), bias.reshape(sizes)))
        graph.nodes[name] = float_node(name, "AddV2", [tensor, value])
        return
    value = graph.add(const_node(graph.free_name(f"{name}/bias"), bias))
    node = float_node(name, "BiasAdd", [tensor, value])
    node.attr["data_format"].s = b"NCHW" if channels_first else b"NHWC"
    graph.nodes[name] = node


def _axis_at_tail(mapped: MappedLayer) -> Optional[int]:
    """Axis of the output channels in the layer's result, when BiasAdd can add along it."""
    rank = len(mapped.place.onnx_shape)
    axis = mapped.place.axis(1 if mapped.entry["op"] in ("Conv", "ConvTranspose") else rank - 1)
    last = len(mapped.place.shape) - 1
    return axis if axis == last or (axis == 1 and last > 1) else None


def _channels_first(node: Any) -> bool:
    return node.attr["data_format"].s in _FIRST_CHANNELS if "data_format" in node.attr else False


def _copy(node: Any) -> Any:
    twin = type(node)()
    twin.CopyFrom(node)
    return twin
