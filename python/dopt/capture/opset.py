"""Bringing a model to an operator set that quantization can use and onnxruntime 1.15 can run: 13 to 18."""

from typing import Any, Dict

from dopt.capture.lower import lower
from dopt.capture.network import FLOAT, Network, all_graphs, light_model, unique_name
from dopt.capture.shapes import typed_model
from dopt.errors import DoptError, in_a_line

#: Per-channel DequantizeLinear came with 13. onnxruntime 1.15 accepts 19, but has no Reshape or Resize of it.
LOWEST, HIGHEST = 13, 18

def convert(network: Network) -> None:
    """Converts the default operator set to 13 when it is older, to 18 when it is 19 or 20."""
    before = network.opset
    if before > HIGHEST:
        lower(network, HIGHEST)
        network.notes.append(f"Opset {before} was lowered to {HIGHEST}, the newest that onnxruntime 1.15 runs as a whole.")
    elif before < LOWEST:
        _raise(network)
        network.notes.append(f"Converted from opset {before} to {LOWEST}.")


def check(network: Network) -> None:
    """Runs onnx.checker. Raises DoptError MODEL_INVALID with what it found."""
    import onnx

    model = light_model(network)
    for value in [*model.graph.input, *model.graph.output]:
        # The checker wants every shape stated, although an unknown rank is legal and onnxruntime runs it.
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()
        elif not value.type.WhichOneof("value"):
            value.type.tensor_type.elem_type = FLOAT
            value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # noqa: BLE001 - the checker raises its own and protobuf's errors.
        text = " ".join(str(error).split("==> Context")[0].split())
        raise network.error(
            "MODEL_INVALID",
            f"onnx.checker refuses the model: {text[:500]}",
            ["Export the model again; `python -m onnx.checker` shows the same error."],
        ) from error


def _raise(network: Network) -> None:
    import onnx
    from onnx import helper

    names = {node.output[0]: node.name for node in network.nodes if node.output}
    old_resizes = _old_resizes(network)
    # The converter calls new tensors 1, 2, 3, …, and so do exporters: keep the two apart.
    renamed = _renamed(typed_model(network), lambda name: f"t.{name}")
    try:
        converted = onnx.version_converter.convert_version(renamed, LOWEST)
    except Exception as error:  # noqa: BLE001 - C++ assertions arrive as RuntimeError, ConvertError, IndexError, …
        raise DoptError(
            "MODEL_OPSET_CONVERSION",
            f"{network.path}: onnx cannot convert opset {network.opset} to {LOWEST}: {in_a_line(error)}",
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
    _restore_names(network, names)
    for node in network.nodes:
        if node.output[0] in old_resizes:
            node.attribute.extend(helper.make_attribute(key, value) for key, value in old_resizes[node.output[0]].items())


def _old_resizes(network: Network) -> Dict[str, Dict[str, str]]:
    """Attributes that say, from opset 11 on, what Upsample and Resize did before; by output tensor.

    Older ones sample at x / scale (asymmetric), which the converter forgets to say: it leaves the default, half_pixel.
    """
    found: Dict[str, Dict[str, str]] = {}
    for node in network.nodes:
        if node.op_type not in ("Upsample", "Resize") or node.domain or network.opset > 10:
            continue
        scales = network.weights.get(node.input[1]) if len(node.input) > 1 else None
        shrinks = scales is not None and scales.array.size > 0 and float(scales.array.min()) < 1
        found[node.output[0]] = {
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "ceil" if shrinks else "floor",
        }
    return found


def _restore_names(network: Network, names: Dict[str, str]) -> None:
    """A node that the converter wrote anew takes the name of the one that produced its tensor before."""
    taken = {node.name for node in network.nodes}
    for node in network.nodes:
        name = names.get(node.output[0], "") if node.output else ""
        if not node.name and name not in taken:
            node.name = name
            taken.add(name)


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

