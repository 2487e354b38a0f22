"""float16 models: refused with the flag to use, or turned into float32 models of the same values."""

from typing import Any, List

from dopt.capture.network import FLOAT, FLOAT16, Network, Weight, all_graphs, attribute
from dopt.capture.tensors import ExternalFiles, to_weight

#: Attributes that name an element type.
_TYPE_ATTRIBUTES = {"Cast": "to", "RandomNormal": "dtype", "RandomUniform": "dtype", "EyeLike": "dtype", "Multinomial": "dtype"}


def uses_float16(network: Network) -> bool:
    """Whether a weight, an input or an output of the model is float16."""
    values = [*network.graph.input, *network.graph.output]
    return any(value.type.tensor_type.elem_type == FLOAT16 for value in values) or any(
        weight.type == FLOAT16 for weight in network.weights.values()
    )


def to_float32(network: Network, wanted: bool) -> None:
    """Widens float16 to float32 everywhere. Raises DoptError MODEL_FLOAT16 when it is needed and not ``wanted``."""
    import numpy as np

    if not uses_float16(network):
        return
    if not wanted:
        raise network.error(
            "MODEL_FLOAT16",
            "the model is float16; quantization starts from float32.",
            ["Add --float16-to-float32: every float16 value is a float32 value too, so nothing is lost."],
        )
    count = 0
    for name, weight in network.weights.items():
        if weight.type == FLOAT16:
            network.weights[name] = Weight(FLOAT, weight.array.astype(np.float32))
            count += 1
    files = ExternalFiles(network.path)
    for graph in all_graphs(network.graph):
        del graph.value_info[:]
        for value in [*graph.input, *graph.output]:
            _widen_type(value.type)
        for tensor in graph.initializer:
            _widen_tensor(tensor, files)
        for node in graph.node:
            _widen_node(node, files)
    network.stated.clear()
    network.was_float16 = True
    network.notes.append(f"Converted from float16 to float32 ({count} weights).")


def _widen_node(node: Any, files: ExternalFiles) -> None:
    for item in node.attribute:
        tensors: List[Any] = [item.t] if item.HasField("t") else list(item.tensors)
        for tensor in tensors:
            _widen_tensor(tensor, files)
    named = _TYPE_ATTRIBUTES.get(node.op_type.replace("Like", "") if node.op_type.startswith("Random") else node.op_type)
    kind = attribute(node, named) if named else None
    if kind is not None and kind.i == FLOAT16:
        kind.i = FLOAT


def _widen_tensor(tensor: Any, files: ExternalFiles) -> None:
    import numpy as np
    from onnx import numpy_helper

    if tensor.data_type == FLOAT16:
        array = to_weight(tensor, files).array.astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _widen_type(proto: Any) -> None:
    if proto.HasField("sequence_type"):
        _widen_type(proto.sequence_type.elem_type)
    elif proto.HasField("optional_type"):
        _widen_type(proto.optional_type.elem_type)
    elif proto.tensor_type.elem_type == FLOAT16:
        proto.tensor_type.elem_type = FLOAT
