"""Quantize and dequantize in TensorFlow, by primitive operators that reproduce the arithmetic of ONNX.

QuantizeLinear is saturate(round_half_even(x / scale) + zero_point), DequantizeLinear (q - zero_point) · scale, in float32
(https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html). Integers of 16 bits and less are exact in float32.
"""

from typing import Any, List, NamedTuple, Optional, Tuple

from dopt.doors.tensorflow.write_back.correspondence import Place
from dopt.doors.tensorflow.write_back.graph import Graph, input_entry, node_of


class Grid(NamedTuple):
    """A grid of integers: ``scale`` and ``zero_point`` have one element, or one for each position along ``axis``."""

    scale: Tuple[float, ...]
    zero_point: Tuple[int, ...]
    bits: int
    signed: bool
    axis: Optional[int]

    @property
    def limits(self) -> Tuple[int, int]:
        """Least and largest integer."""
        return (-(1 << self.bits - 1), (1 << self.bits - 1) - 1) if self.signed else (0, (1 << self.bits) - 1)


def grid_of(activation: Any, numbers: Any) -> Grid:
    """The grid of an activation of write-back.json with the numbers of its safetensors file."""
    scale, zero_point = (numbers[f"{activation['tensor']}/{each}"] for each in ("scale", "zero_point"))
    axis = activation["axis"] if scale.size > 1 else None
    return Grid(tuple(scale.tolist()), tuple(zero_point.tolist()), activation["bits"], activation["signed"], axis)


def on_tensor(grid: Grid, place: Place) -> Optional[Grid]:
    """The grid with its axis in TensorFlow; None when the channels have no axis of their own there."""
    if grid.axis is None:
        return grid
    axis = place.axis(grid.axis)
    return None if axis is None else grid._replace(axis=axis - len(place.shape))


def add_quantizer(graph: Graph, tensor: str, grid: Grid) -> str:
    """Adds the nodes that round ``tensor`` to the grid and returns the tensor of rounded values.

    The division is DivNoNan: for RealDiv by a constant, TensorFlow multiplies by the reciprocal instead, and values in the
    middle between two integers then go the other way than in ONNX.
    """
    import numpy as np

    prefix = f"{node_of(tensor)}/fake_quant" if tensor.endswith(":0") else f"{tensor.replace(':', '_')}/fake_quant"
    prefix = graph.free_name(prefix)
    # An empty node keeps the prefix taken while its parts are named.
    shape = [len(grid.scale)] + [1] * (-1 - grid.axis) if grid.axis is not None else []
    low, high = grid.limits
    constants = {
        "scale": np.array(grid.scale, np.float32).reshape(shape),
        "zero_point": np.array(grid.zero_point, np.float32).reshape(shape),
        "low": np.array(low, np.float32),
        "high": np.array(high, np.float32),
    }
    names = {name: graph.add(const_node(graph.free_name(f"{prefix}/{name}"), value)) for name, value in constants.items()}
    steps: List[Tuple[str, str, Optional[str]]] = [
        ("divide", "DivNoNan", "scale"),
        ("round", "Round", None),
        ("shift", "AddV2", "zero_point"),
        ("above", "Maximum", "low"),
        ("below", "Minimum", "high"),
        ("center", "Sub", "zero_point"),
    ]
    for name, op, other in steps:
        inputs = [tensor] if other is None else [tensor, names[other]]
        tensor = graph.add(float_node(graph.free_name(f"{prefix}/{name}"), op, inputs))
    return graph.add(float_node(prefix, "Mul", [tensor, names["scale"]]))


def const_node(name: str, value: Any) -> Any:
    """A Const node."""
    from tensorflow.core.framework import node_def_pb2
    from tensorflow.python.framework import tensor_util

    node = node_def_pb2.NodeDef(name=name, op="Const")
    tensor = tensor_util.make_tensor_proto(value)
    node.attr["dtype"].type = tensor.dtype
    node.attr["value"].tensor.CopyFrom(tensor)
    return node


def float_node(name: str, op: str, inputs: List[str]) -> Any:
    """A node of an operator on float32 whose only attribute is T."""
    from tensorflow.core.framework import node_def_pb2, types_pb2

    node = node_def_pb2.NodeDef(name=name, op=op, input=[input_entry(each) for each in inputs])
    node.attr["T"].type = types_pb2.DT_FLOAT
    return node
