"""graph.json: the captured network as data (src/config/graph.ts)."""

import math
from typing import Any, Dict, List, Optional

from dopt.capture.network import ELEMENT_TYPES, STRING, Network, TensorType, Weight, captures, subgraphs, value_type
from dopt.capture.tensors import ExternalFiles, to_weight

#: Values of at most this many elements are repeated in graph.json.
VALUE_ELEMENTS = 64


def describe(network: Network, types: Dict[str, TensorType]) -> Dict[str, Any]:
    """The content of graph.json for a finished network."""
    graph = network.graph
    return {
        "version": 1,
        "name": graph.name,
        "irVersion": network.model.ir_version,
        "opset": {entry.domain: entry.version for entry in network.model.opset_import},
        "inputs": [{"name": value.name, **_type(value_type(value))} for value in graph.input],
        "outputs": [{"name": value.name, **_type(types.get(value.name))} for value in graph.output],
        "initializers": [_initializer(name, weight) for name, weight in network.weights.items()],
        "nodes": [_node(network, node) for node in graph.node],
        "tensors": {
            name: _type(types[name]) for node in graph.node for name in node.output if name and name in types
        },
    }


def number(value: Any) -> Any:
    """A JSON number, or the word for what JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _type(known: Optional[TensorType]) -> Dict[str, Any]:
    if known is None:
        return {"dtype": "unknown", "shape": None}
    name = ELEMENT_TYPES.get(known.type, ("unknown", None))[0]
    return {"dtype": name, "shape": None if known.shape is None else list(known.shape)}


def _initializer(name: str, weight: Weight) -> Dict[str, Any]:
    entry = {"name": name, **_type(TensorType(weight.type, weight.array.shape))}
    value = _values(weight)
    if value is not None:
        entry["value"] = value
    return entry


def _values(weight: Weight) -> Optional[List[Any]]:
    """Elements in row-major order when there are few and they are numbers."""
    import numpy as np

    if weight.array.size > VALUE_ELEMENTS or weight.type == STRING or weight.array.dtype.kind == "c":
        return None
    array = weight.array
    if ELEMENT_TYPES[weight.type][0] == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    return [number(value) for value in array.reshape(-1).tolist()]


def _node(network: Network, node: Any) -> Dict[str, Any]:
    attributes = {}
    for item in node.attribute:
        value = _attribute(item, network)
        if value is not None:
            attributes[item.name] = value
    entry = {
        "name": node.name,
        "op": node.op_type,
        "domain": node.domain,
        "inputs": list(node.input),
        "outputs": list(node.output),
        "attributes": attributes,
    }
    if subgraphs(node):
        entry["captures"] = captures(node)
    return entry


def _attribute(item: Any, network: Network) -> Any:
    """A number, text or list; small tensors as the list of their elements; None for graphs and large tensors."""
    from onnx import AttributeProto

    if item.type == AttributeProto.FLOAT:
        return number(float(item.f))
    if item.type == AttributeProto.INT:
        return int(item.i)
    if item.type == AttributeProto.STRING:
        return _text(item.s)
    if item.type == AttributeProto.FLOATS:
        return [number(float(value)) for value in item.floats]
    if item.type == AttributeProto.INTS:
        return [int(value) for value in item.ints]
    if item.type == AttributeProto.STRINGS:
        return [_text(value) for value in item.strings]
    if item.type == AttributeProto.TENSOR:
        return _values(to_weight(item.t, ExternalFiles(network.path)))
    return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
