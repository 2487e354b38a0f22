"""Opsets 19 and 20 written in the words of opset 18.

The two mostly widened types (float8, text), so a model that uses nothing new only needs another number. onnx's converter
knows no way down for them. Changes: https://github.com/onnx/onnx/blob/main/docs/Changelog.md, versions 19 and 20.
"""

import math
from typing import Any, List, Optional, Set

from dopt.capture.network import FLOAT, Network, Weight, all_graphs, attribute, unique_name

#: Operators that opset 19 or 20 added and that have no short form before.
_ADDED = {"AffineGrid", "DeformConv", "DFT", "ImageDecoder", "RegexFullMatch", "StringConcat", "StringSplit"}
_GRID_SAMPLE_MODES = {b"linear": b"bilinear", b"cubic": b"bicubic"}


def lower(network: Network, opset: int) -> None:
    """Lowers the default operator set from 19 or 20 to 18 (``opset``).

    Raises DoptError MODEL_OPSET naming the first node that means something opset 18 cannot say.
    """
    for graph in all_graphs(network.graph):
        for node in graph.node:
            problem = None if node.domain else _lower_node(node, graph is network.graph)
            if problem:
                raise network.error(
                    "MODEL_OPSET",
                    f"node {node.name!r} ({node.op_type}) {problem} came after opset {opset}, "
                    "the newest that onnxruntime 1.15 runs as a whole.",
                    [f"Export the model with an opset from 13 to {opset}."],
                )
    taken = network.tensor_names()
    nodes: List[Any] = []
    for node in network.nodes:
        nodes.extend(_gelu(network, node, taken) if node.op_type == "Gelu" and not node.domain else [node])
    network.replace_nodes(nodes)
    for entry in network.model.opset_import:
        if entry.domain == "":
            entry.version = opset


def _lower_node(node: Any, outermost: bool) -> Optional[str]:
    """Rewrites one node in place; answers what of it cannot be said."""
    if node.op_type in _ADDED or (node.op_type == "Gelu" and not outermost):
        return "itself"
    mode, dilations = attribute(node, "mode"), attribute(node, "dilations")
    if node.op_type == "GridSample" and mode is not None:
        mode.s = _GRID_SAMPLE_MODES.get(mode.s, mode.s)
    if node.op_type == "Pad" and mode is not None and mode.s == b"wrap":
        return "with mode wrap"
    if node.op_type == "AveragePool" and dilations is not None:
        if any(size != 1 for size in dilations.ints):
            return "with dilations"
        node.attribute.remove(dilations)
    if node.op_type == "Resize":
        transformation = attribute(node, "coordinate_transformation_mode")
        if transformation is not None and transformation.s == b"half_pixel_symmetric":
            return "with half_pixel_symmetric"
    saturate = attribute(node, "saturate")
    if node.op_type in ("Cast", "CastLike") and saturate is not None:
        # It speaks of float8 only, which no tensor here has.
        node.attribute.remove(saturate)
    return None


def _gelu(network: Network, node: Any, taken: Set[str]) -> List[Any]:
    """Gelu in primitives: x/2 (1 + erf(x/√2)), or x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))), in float32."""
    import numpy as np
    from onnx import helper

    made: List[Any] = []

    def constant(suffix: str, number: float) -> str:
        name = unique_name(f"{node.name}_{suffix}", taken)
        network.weights[name] = Weight(FLOAT, np.array(number, np.float32))
        return name

    def op(kind: str, *inputs: str) -> str:
        name = unique_name(f"{node.name}_{kind}_{len(made)}", taken)
        made.append(helper.make_node(kind, list(inputs), [name], name=name))
        return name

    x = node.input[0]
    approximate = attribute(node, "approximate")
    if approximate is not None and approximate.s == b"tanh":
        cube = op("Mul", op("Mul", op("Mul", x, x), x), constant("cubic", 0.044715))
        inner = op("Tanh", op("Mul", op("Add", x, cube), constant("root", math.sqrt(2 / math.pi))))
    else:
        inner = op("Erf", op("Div", x, constant("root", math.sqrt(2))))
    op("Mul", op("Mul", x, op("Add", inner, constant("one", 1.0))), constant("half", 0.5))
    made[-1].output[0] = node.output[0]
    return made
