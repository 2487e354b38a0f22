"""Bringing a model to an operator set that quantization can use and onnxruntime 1.15 can run: 13 to 19."""

from typing import Any, Dict, Set

from dopt.capture.network import FLOAT, Network, Weight, all_graphs, attribute, light_model, unique_name
from dopt.capture.shapes import typed_model
from dopt.errors import DoptError

#: Per-channel DequantizeLinear came with 13; onnxruntime 1.15 ends at 19.
LOWEST, HIGHEST = 13, 19
#: IR version that goes with opset 13; from 4 on initializers need not be inputs.
LOWEST_IR = 7

#: Operators that opset 20 added or gave a new meaning, apart from those lowered below.
_ONLY_IN_20 = {"AffineGrid", "DFT", "ImageDecoder", "RegexFullMatch", "StringConcat", "StringSplit"}
_GRID_SAMPLE_MODES = {b"linear": b"bilinear", b"cubic": b"bicubic"}


def convert(network: Network) -> None:
    """Converts the default operator set to 13 when it is older, to 19 when it is 20."""
    before = network.opset
    if before > HIGHEST:
        _lower(network)
        network.notes.append(f"Opset {before} was lowered to {HIGHEST}, the newest that onnxruntime 1.15 runs.")
    elif before < LOWEST:
        _raise(network)
        network.notes.append(f"Converted from opset {before} to {LOWEST}.")
    network.model.ir_version = max(network.model.ir_version, LOWEST_IR)


def check(network: Network) -> None:
    """Runs onnx.checker. Raises DoptError MODEL_INVALID with what it found."""
    import onnx

    model = light_model(network)
    model.ir_version = max(model.ir_version, LOWEST_IR)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # noqa: BLE001 - the checker raises its own and protobuf's errors.
        text = " ".join(str(error).split("==> Context")[0].split())
        raise network.error(
            "MODEL_INVALID",
            f"onnx.checker refuses the model: {text[:500]}",
            ["Export the model again; `python -m onnx.checker` shows the same error."],
        ) from error


def _lower(network: Network) -> None:
    taken = network.tensor_names()
    nodes = []
    for graph in all_graphs(network.graph):
        for node in graph.node:
            if node.domain:
                continue
            if node.op_type in _ONLY_IN_20 or (node.op_type == "Gelu" and graph is not network.graph):
                raise network.error(
                    "MODEL_OPSET",
                    f"node {node.name!r} ({node.op_type}) exists only from opset 20 on, which onnxruntime 1.15 cannot run.",
                    [f"Export the model with an opset from 13 to {HIGHEST}."],
                )
            mode = attribute(node, "mode") if node.op_type == "GridSample" else None
            if mode is not None:
                mode.s = _GRID_SAMPLE_MODES.get(mode.s, mode.s)
    for node in network.nodes:
        nodes.extend(_gelu(network, node, taken) if node.op_type == "Gelu" and not node.domain else [node])
    network.replace_nodes(nodes)
    for entry in network.model.opset_import:
        if entry.domain == "":
            entry.version = HIGHEST


def _gelu(network: Network, node: Any, taken: Set[str]) -> Any:
    """Gelu in primitives: x/2 (1 + erf(x/√2)), or with tanh(√(2/π) (x + 0.044715 x³)); float32 only."""
    import math

    import numpy as np
    from onnx import helper

    x, result = node.input[0], node.output[0]
    approximate = attribute(node, "approximate")

    def constant(suffix: str, value: float) -> str:
        name = unique_name(f"{node.name}_{suffix}", taken)
        network.weights[name] = Weight(FLOAT, np.array(value, np.float32))
        return name

    made = []

    def op(kind: str, *inputs: str) -> str:
        name = unique_name(f"{node.name}_{kind}_{len(made)}", taken)
        made.append(helper.make_node(kind, list(inputs), [name], name=name))
        return name

    if approximate is not None and approximate.s == b"tanh":
        cube = op("Mul", op("Mul", op("Mul", x, x), x), constant("cubic", 0.044715))
        inner = op("Tanh", op("Mul", op("Add", x, cube), constant("root", math.sqrt(2 / math.pi))))
    else:
        inner = op("Erf", op("Div", x, constant("root", math.sqrt(2))))
    op("Mul", op("Mul", x, op("Add", inner, constant("one", 1.0))), constant("half", 0.5))
    made[-1].output[0] = result
    return made


def _raise(network: Network) -> None:
    import onnx

    # The converter calls new tensors 1, 2, 3, …, and so do exporters: keep the two apart.
    renamed = _renamed(typed_model(network), lambda name: f"t.{name}")
    renamed.ir_version = max(renamed.ir_version, LOWEST_IR)
    try:
        converted = onnx.version_converter.convert_version(renamed, LOWEST)
    except Exception as error:  # noqa: BLE001 - C++ assertions arrive as RuntimeError, ConvertError, IndexError, …
        raise DoptError(
            "MODEL_OPSET_CONVERSION",
            f"{network.path}: onnx cannot convert opset {network.opset} to {LOWEST}: {' '.join(str(error).split())[:300]}",
            kind="external",
            place=network.path,
            suggestions=[f"Export the model with an opset from {LOWEST} to {HIGHEST}."],
        ) from error
    taken = network.tensor_names()
    back: Dict[str, str] = {}

    def restore(name: str) -> str:
        if name not in back:
            back[name] = name[2:] if name.startswith("t.") else unique_name(f"opset{LOWEST}_{name}", taken)
        return back[name]

    converted = _renamed(converted, restore)
    _take_back(network, converted)


def _take_back(network: Network, converted: Any) -> None:
    """Puts a converted light model in the place of the graph; large weights stay those of the network."""
    from dopt.capture.tensors import ExternalFiles, to_weight

    files = ExternalFiles(network.path)
    network.weights.update((tensor.name, to_weight(tensor, files)) for tensor in converted.graph.initializer)
    network.replace_nodes(list(converted.graph.node))
    for entry in network.model.opset_import:
        if entry.domain == "":
            entry.version = LOWEST


def _renamed(model: Any, rename: Any) -> Any:
    """A copy of the model with every tensor renamed, in subgraphs too; '' (an omitted input) stays."""
    twin = type(model)()
    twin.CopyFrom(model)
    for graph in all_graphs(twin.graph):
        for value in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
            value.name = rename(value.name)
        for node in graph.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name:
                        names[index] = rename(name)
    return twin

