"""The marks that quantizers and layers left in an exported ONNX graph: found, named after the network, and removed."""

from typing import Any, Dict, List, NamedTuple, Tuple

from dopt.plugin.numbers import Reading

_WEIGHT = "._export_weight"


class Places(NamedTuple):
    """``layers``: (node, path of the layer); ``readings``: inputs of nodes that read rounded values."""

    layers: List[Tuple[str, str]]
    readings: List[Reading]


def resolve(path: str, names: Dict[int, str]) -> Places:
    """Rewrites the file without marks, layers named by their paths and products by the graph's names for them.

    names: of quantizers by the number that marks them.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    marks = _marks(graph, names)
    layers = _name_layers(graph)
    _name_products(graph, marks)
    readings = []
    for node in graph.node:
        for index, tensor in enumerate(node.input):
            if tensor in marks:
                readings.append(Reading(node.name, index, marks[tensor].quantizer))
                node.input[index] = marks[tensor].source
    kept = [node for node in graph.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    del graph.node[:]
    graph.node.extend(kept)
    onnx.save(model, path)
    return Places(layers, readings)


class _Mark(NamedTuple):
    source: str
    quantizer: str


def _marks(graph: Any, names: Dict[int, str]) -> Dict[str, _Mark]:
    """Marked tensors: what they are a rounded form of, and by which quantizer."""
    from onnx import numpy_helper

    makers = {node.output[0]: node for node in graph.node}
    constants = {each.name: each for each in graph.initializer}
    marks = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            pair = makers[node.input[0]]
            scale = node.input[1]
            tensor = constants[scale] if scale in constants else makers[scale].attribute[0].t
            marks[node.output[0]] = _Mark(pair.input[0], names[int(numpy_helper.to_array(tensor))])
    return marks


def _name_layers(graph: Any) -> List[Tuple[str, str]]:
    """Names the nodes that read a layer's weight; a layer that is called again gets a number."""
    weights = {each.name: each.name[: -len(_WEIGHT)] for each in graph.initializer if each.name.endswith(_WEIGHT)}
    others = {each.name: each.name[: -len(".weight")] for each in graph.initializer if each.name.endswith(".weight")}
    turned = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
    taken: Dict[str, int] = {}
    layers = []
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or len(node.input) < 2:
            continue
        weight = turned.get(node.input[1], node.input[1])
        path = weights.get(weight) or others.get(weight)
        if path is None:
            continue
        count = taken[path] = taken.get(path, -1) + 1
        node.name = f"{path}_{count}" if count else path
        if weight in weights:
            layers.append((node.name, path))
    return layers


def _name_products(graph: Any, marks: Dict[str, _Mark]) -> None:
    """Names products of activations after their quantizers, PATH.0 and PATH.1."""
    for node in graph.node:
        sides = [marks[tensor].quantizer if tensor in marks else "" for tensor in node.input]
        if node.op_type == "MatMul" and len(sides) == 2 and sides[1].endswith(".1"):
            node.name = sides[1][:-2]
