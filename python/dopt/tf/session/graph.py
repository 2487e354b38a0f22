"""What can be quantized in a graph: operators with a weight, products of activations, and what is folded behind a layer."""

from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

import tensorflow as tf

from dopt.errors import DoptError
from dopt.plugin.config import LayerName
from dopt.plugin.numbers import FloatLayer
from dopt.tf.weights import KINDS, Kind

#: Which inputs of a layer are its data and its weight.
_PLACES = {"Conv2DBackpropInput": (2, 1)}
_LAYERS = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3D", "MatMul")
_PRODUCTS = ("BatchMatMul", "BatchMatMulV2", "MatMul")
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable", "Const")
_PASSING = ("Identity", "ReadVariableOp", "Enter")
_ADDS = ("BiasAdd", "BiasAddV1", "Add", "AddV2")
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_SOFTMAX, _TANH = {"Softmax": (0.0, 1.0), "Sigmoid": (0.0, 1.0)}, {"Tanh": (-1.0, 1.0)}


class Layer(NamedTuple):
    """``operator`` reads its data at ``inputs`` and its weight at ``weight`` (None of a product, which has two ``inputs``).

    ``bias``: the sum behind, and which of its inputs is the bias; ``norm``: the batch normalization behind that, with
    statistics that stand still.
    """

    name: LayerName
    operator: Any
    inputs: Tuple[int, ...]
    weight: Optional[int]
    kind: Optional[Kind]
    bias: Optional[Tuple[Any, int]]
    norm: Optional[Any]


def layers_of(graph: Any) -> List[Layer]:
    """Everything that can be quantized, in the order in which the graph was built; gradients left out."""
    found = []
    for operator in graph.get_operations():
        if operator.name.startswith("gradients") or "/gradients/" in operator.name or operator.name.startswith("dopt/"):
            continue
        data, weight = _PLACES.get(operator.type, (0, 1))
        name = LayerName(operator.name, operator.type, "")
        if operator.type in _LAYERS and _is_weight(operator.inputs[weight]) and not _is_weight(operator.inputs[data]):
            if operator.type == "MatMul" and operator.get_attr("transpose_a"):
                continue
            turned = operator.type == "MatMul" and operator.get_attr("transpose_b")
            kind = Kind((0,), (0, 1), 0) if turned else KINDS[operator.type]
            bias = _bias_behind(operator)
            norm = _norm_behind(bias[0] if bias else operator)
            found.append(Layer(name, operator, (data,), weight, kind, bias, norm))
        elif operator.type in _PRODUCTS and not any(_is_weight(each) for each in operator.inputs):
            found.append(Layer(name, operator, (0, 1), None, None, None, None))
    return found


def left_float(graph: Any, layers: List[Layer]) -> List[FloatLayer]:
    """Operators that multiply with weights and are not quantized."""
    taken = {layer.name.path for layer in layers}
    wanted = (*_LAYERS, *_PRODUCTS, "Einsum", "Conv3DBackpropInputV2")
    return [
        FloatLayer(operator.name, operator.type, "no quantized form of this operator")
        for operator in graph.get_operations()
        if operator.type in wanted
        and operator.name not in taken
        and not operator.name.startswith(("gradients", "dopt/"))
        and "/gradients/" not in operator.name
        and any(_is_weight(each) for each in operator.inputs)
    ]


def fixed_range(tensor: Any) -> Optional[Tuple[float, float]]:
    """The range that the producer of a tensor sets, or None."""
    return {**_SOFTMAX, **_TANH}.get(tensor.op.type)


def inputs_of(graph: Any, layers: List[Layer]) -> Dict[str, Tuple[Optional[int], ...]]:
    """Placeholders that lead to layers, with their shapes; scalars and flags left out. Raises DoptError PLUGIN_INPUTS."""
    reached: Set[str] = set()
    waiting = [layer.operator for layer in layers]
    while waiting:
        operator = waiting.pop()
        if operator.name not in reached:
            reached.add(operator.name)
            waiting += [tensor.op for tensor in operator.inputs]
    found = {}
    for operator in graph.get_operations():
        if operator.name in reached and operator.type == "Placeholder":
            shape = operator.outputs[0].shape
            if operator.outputs[0].dtype != tf.bool and shape.rank != 0:
                found[operator.name] = tuple(shape.as_list()) if shape.rank is not None else ()
    if not found:
        raise DoptError(
            "PLUGIN_INPUTS",
            "No placeholder of the graph leads to a layer.",
            suggestions=["Build the network in the graph of this session, on a tf.compat.v1.placeholder."],
        )
    return found


def _is_weight(tensor: Any) -> bool:
    """Whether a tensor is a variable or constant as it is."""
    operator = tensor.op
    while operator.type in _PASSING:
        operator = operator.inputs[0].op
    return operator.type in _VARIABLES


def _reader(operator: Any) -> Optional[Any]:
    """What alone reads the result of an operator, gradients left out."""
    readers = [each for each in operator.outputs[0].consumers() if "gradients" not in each.name.split("/")]
    return readers[0] if len(readers) == 1 else None


def _bias_behind(operator: Any) -> Optional[Tuple[Any, int]]:
    reader = _reader(operator)
    if reader is None or reader.type not in _ADDS:
        return None
    index = 1 if reader.inputs[0].op is operator else 0
    bias = reader.inputs[index]
    return (reader, index) if _is_weight(bias) and bias.shape.rank == 1 else None


def _norm_behind(operator: Any) -> Optional[Any]:
    reader = _reader(operator)
    if reader is None or reader.type not in _NORMS or reader.get_attr("is_training"):
        return None
    return reader if reader.inputs[0].op is operator else None
