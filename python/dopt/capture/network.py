"""The captured network while it is being normalized: an ONNX graph without initializers, and the weights beside it.

Weights are numpy arrays, memory maps of the model's external data wherever it has some, so that only nodes and shapes
are ever copied. Native parts of onnx that need a whole model get a ``light_model``, in which a large weight is a
graph input of the same type and shape.
"""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from dopt.errors import DoptError

#: ONNX TensorProto.DataType by number: (name in graph.json, safetensors name or None when the format has none).
ELEMENT_TYPES = {
    1: ("float32", "F32"),
    2: ("uint8", "U8"),
    3: ("int8", "I8"),
    4: ("uint16", "U16"),
    5: ("int16", "I16"),
    6: ("int32", "I32"),
    7: ("int64", "I64"),
    8: ("string", None),
    9: ("bool", "BOOL"),
    10: ("float16", "F16"),
    11: ("float64", "F64"),
    12: ("uint32", "U32"),
    13: ("uint64", "U64"),
    14: ("complex64", None),
    15: ("complex128", None),
    16: ("bfloat16", "BF16"),
}
FLOAT, INT64, BOOL, FLOAT16, BFLOAT16, STRING = 1, 7, 9, 10, 16, 8

#: IR version that goes with opset 13; before version 4, initializers that are no graph inputs are overlooked.
LOWEST_IR = 7
#: Weights up to this many elements stay inside light models: they may be shapes, axes or scales.
LIGHT_ELEMENTS = 1024


class Weight(NamedTuple):
    """One initializer: ONNX element type and array (bfloat16 as uint16 bits, strings as objects)."""

    type: int
    array: Any


class TensorType(NamedTuple):
    """Type of a tensor. ``shape`` is None for an unknown rank; a size is an int, a symbol, or None."""

    type: int
    shape: Optional[Tuple[Any, ...]]

    def static_shape(self) -> Optional[Tuple[int, ...]]:
        """The shape when every size is a number, else None."""
        if self.shape is None or not all(isinstance(size, int) for size in self.shape):
            return None
        return self.shape


class Network:
    """A model on its way through capture. ``notes`` collects one sentence for each thing that was changed."""

    def __init__(self, path: str, model: Any, weights: Dict[str, Weight]) -> None:
        self.path = path
        self.model = model
        self.weights = weights
        self.notes: List[str] = []
        #: Types that the file itself states for intermediate tensors; used where inference finds nothing.
        self.stated: Dict[str, TensorType] = {}
        #: Set when float16 was widened: the original then computes with less precision than the captured model.
        self.was_float16 = False
        #: Whether the file keeps tensors in files beside it.
        self.has_external_data = False

    @property
    def graph(self) -> Any:
        return self.model.graph

    @property
    def nodes(self) -> Any:
        return self.model.graph.node

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return next(entry.version for entry in self.model.opset_import if entry.domain == "")

    def input_names(self) -> List[str]:
        return [value.name for value in self.graph.input]

    def output_names(self) -> List[str]:
        return [value.name for value in self.graph.output]

    def replace_nodes(self, nodes: List[Any]) -> None:
        """Puts other nodes in the place of all nodes."""
        kept = [_copy(node) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(kept)

    def tensor_names(self) -> Set[str]:
        """Every name in use for a tensor, those inside subgraphs included."""
        names = set(self.weights) | set(self.input_names()) | set(self.output_names())
        for graph in all_graphs(self.graph):
            names.update(value.name for value in graph.input)
            names.update(tensor.name for tensor in graph.initializer)
            for node in graph.node:
                names.update(node.input)
                names.update(node.output)
        return names

    def error(self, code: str, message: str, suggestions: Optional[List[str]] = None) -> DoptError:
        """A user error about this file; without ``suggestions`` it advises to export the model again."""
        advice = suggestions or ["The file is damaged or was written wrongly: export the model again."]
        return DoptError(code, f"{self.path}: {message}", place=self.path, suggestions=advice)


def attribute(node: Any, name: str) -> Any:
    """The attribute's AttributeProto, or None."""
    return next((item for item in node.attribute if item.name == name), None)


def subgraphs(node: Any) -> List[Any]:
    """GraphProtos held by the node's attributes (If, Loop, Scan)."""
    found = []
    for item in node.attribute:
        if item.HasField("g"):
            found.append(item.g)
        found.extend(item.graphs)
    return found


def all_graphs(graph: Any) -> Iterator[Any]:
    """The graph and every graph nested in its nodes."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from all_graphs(inner)


def captures(node: Any) -> List[str]:
    """Names of outer tensors that the node's subgraphs read, in order of first use."""
    names: Dict[str, None] = {}
    for graph in subgraphs(node):
        own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        for inner in graph.node:
            for name in [*inner.input, *captures(inner)]:
                if name and name not in own:
                    names.setdefault(name)
            own.update(inner.output)
        for value in graph.output:
            if value.name not in own:
                names.setdefault(value.name)
    return list(names)


def reads(node: Any) -> List[str]:
    """Every tensor the node needs: its inputs and its captures."""
    names = [name for name in node.input if name]
    return names + captures(node) if any(item.HasField("g") or item.graphs for item in node.attribute) else names


def rename_reads(nodes: Any, names: Dict[str, str]) -> None:
    """Makes nodes read other tensors (old name to new name), inside subgraphs too."""
    for node in nodes:
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = names[name]
        for graph in subgraphs(node):
            rename_reads(graph.node, names)
            for value in graph.output:
                value.name = names.get(value.name, value.name)


def value_type(value: Any) -> Optional[TensorType]:
    """Type of a ValueInfoProto; None when it is no tensor or says nothing."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.elem_type:
        return None
    if not tensor.HasField("shape"):
        return TensorType(tensor.elem_type, None)
    return TensorType(tensor.elem_type, tuple(_size(dim) for dim in tensor.shape.dim))


def make_value(name: str, tensor: Optional[TensorType]) -> Any:
    """A ValueInfoProto; without a type when ``tensor`` is None."""
    from onnx import ValueInfoProto, helper

    if tensor is None:
        return ValueInfoProto(name=name)
    return helper.make_tensor_value_info(name, tensor.type, None if tensor.shape is None else list(tensor.shape))


def make_tensor(name: str, weight: Weight) -> Any:
    """A TensorProto holding the weight's data inside."""
    import numpy as np
    from onnx import TensorProto

    tensor = TensorProto(name=name, data_type=weight.type, dims=weight.array.shape)
    if weight.type == STRING:
        tensor.string_data.extend(value if isinstance(value, bytes) else str(value).encode() for value in weight.array.flat)
    else:
        little = weight.array.dtype.newbyteorder("<")
        tensor.raw_data = np.ascontiguousarray(weight.array, dtype=little).tobytes()
    return tensor


def light_model(network: Network) -> Any:
    """A copy of the model with small weights as initializers and large ones as graph inputs."""
    from onnx import ModelProto

    model = ModelProto()
    model.CopyFrom(network.model)
    model.ir_version = max(model.ir_version, LOWEST_IR)
    for name, weight in network.weights.items():
        if weight.array.size <= LIGHT_ELEMENTS:
            model.graph.initializer.append(make_tensor(name, weight))
        else:
            model.graph.input.append(make_value(name, TensorType(weight.type, weight.array.shape)))
    return model


def unique_name(wanted: str, taken: Set[str]) -> str:
    """``wanted``, or ``wanted_1``, ``wanted_2``, … when it is taken; adds the result to ``taken``."""
    name, count = wanted, 0
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    taken.add(name)
    return name


def _size(dim: Any) -> Any:
    kind = dim.WhichOneof("value")
    if kind == "dim_value":
        return int(dim.dim_value)
    return dim.dim_param or None


def _copy(message: Any) -> Any:
    twin = type(message)()
    twin.CopyFrom(message)
    return twin
