"""A frozen float graph and the trained integers as files: ONNX by the TensorFlow door, the result folder, and the .pb.

Shared by Keras models and sessions. The graph computes in float with folded weights as constants; which operator is which
layer is known by name.
"""

import json
import os
import tempfile
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from dopt.errors import DoptError
from dopt.plugin.edits import Edits
from dopt.plugin.folder import Origin, Written, write_folder
from dopt.plugin.numbers import LayerNumbers, Network, Reading


class Border(NamedTuple):
    """An input or output. ``tensor``: ``node:index`` of the graph; ``name``: what it is called in ONNX."""

    tensor: str
    name: str
    shape: Tuple[int, ...]


class Frozen(NamedTuple):
    """``layers``: (operator, path, quantizer of its input); ``products``: (operator, path, quantizers of both inputs)."""

    graph_def: Any
    inputs: List[Border]
    outputs: List[Border]
    layers: List[Tuple[str, str, str]]
    products: List[Tuple[str, str, List[str]]]


class Place(NamedTuple):
    """An operator of the ONNX form: its name, and those of operator and layer that it stands for."""

    node: str
    operator: str
    path: str


class TensorflowWritten(NamedTuple):
    """Paths of the results. ``frozen``: the .pb, None where the quantization could not be carried into the graph."""

    folder: str
    quantized: str
    frozen: Optional[str]
    float_model: str
    parameters: str
    #: Quantized tensors of the ONNX model by the name of their quantizer.
    tensors: Dict[str, List[str]]
    #: Which node of the ONNX model is which operator of the graph.
    places: List[Place]


def write_frozen(
    out: str,
    frozen: Frozen,
    network: Network,
    numbers: Dict[str, LayerNumbers],
    origin: Origin,
    check: Callable[[str, List[Place]], List[str]],
) -> TensorflowWritten:
    """Writes the result folder. ``network``: without layers and readings, which come of ``numbers`` by path.

    check(model, places) compares the ONNX model with training, and returns notes. Raises DoptError MODEL_CONVERT,
    MODEL_OPERATORS, and those of the folder.
    """
    with tempfile.TemporaryDirectory(prefix="dopt-plugin-") as scratch:
        exported = os.path.join(scratch, f"{network.name}.onnx")
        places = _as_onnx(frozen, network.name, exported)
        paths = {place.operator: place for place in places}
        readings = [Reading(paths[operator].node, 0, quantizer) for operator, _, quantizer in frozen.layers]
        for operator, _, quantizers in frozen.products:
            readings += [Reading(paths[operator].node, at, each) for at, each in enumerate(quantizers)]
        layers = [numbers[path]._replace(name=paths[operator].node) for operator, path, _ in frozen.layers]
        whole = network._replace(layers=layers, readings=readings)
        pb = os.path.join(out, f"{network.name}.{'int16' if network.widths.startswith('int16') else 'int8'}.pb")
        found: List[str] = []

        def further(_: Dict[str, Any], model: str, edits: Edits) -> Tuple[List[str], List[str]]:
            notes = _write_back(out, pb, frozen, model, edits, whole)
            found.extend([pb] if os.path.exists(pb) else [])
            return found, notes

        written: Written = write_folder(
            out, exported, whole, origin, lambda model, _: check(model, places), further
        )
    frozen_path = found[0] if found else None
    return TensorflowWritten(
        out, written.quantized, frozen_path, written.float_model, written.parameters, written.tensors, places
    )


def _as_onnx(frozen: Frozen, title: str, path: str) -> List[Place]:
    """Writes the graph as ONNX, its layers named by their paths; a layer that is called again gets a number."""
    import onnx

    from dopt.doors.tensorflow.convert import convert_graph, unknown_operators
    from dopt.doors.tensorflow.names import name_layers, name_moved_inputs
    from dopt.doors.tensorflow.session import GraphSession

    try:
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise DoptError(
            "PACKAGE_MISSING",
            "The package tf2onnx, which turns graphs of TensorFlow into ONNX, is not installed.",
            kind="environment",
            suggestions=["pip install 'tf2onnx>=1.16'"],
        ) from error
    borders = [*frozen.inputs, *frozen.outputs]
    model = convert_graph(
        frozen.graph_def,
        title,
        [each.tensor for each in frozen.inputs],
        [each.tensor for each in frozen.outputs],
        {each.tensor: list(each.shape) for each in frozen.inputs},
        {each.tensor: each.name for each in borders},
    )
    unknown = unknown_operators(model)
    if unknown:
        raise DoptError(
            "MODEL_OPERATORS",
            f"ONNX has no operator for {', '.join(sorted(unknown))} of {title}.",
            kind="external",
            suggestions=["Spell these with other operators, or leave them out of the network that is exported."],
        )
    name_layers(model, frozen.graph_def, GraphSession(frozen.graph_def, title))
    name_moved_inputs(model)
    nodes = {node.name: node for node in model.graph.node}
    wanted = [(operator, name) for operator, name, _ in [*frozen.layers, *frozen.products]]
    missing = [operator for operator, _ in wanted if operator not in nodes]
    if missing:
        raise DoptError(
            "PLUGIN_EXPORT",
            f"The converter has merged {', '.join(missing[:5])} with other operators.",
            kind="bug",
            suggestions=["Leave the layer in float: quant_strategy float. Please report the network."],
        )
    taken: Dict[str, int] = {}
    places = []
    for operator, name in wanted:
        count = taken[name] = taken.get(name, -1) + 1
        places.append(Place(f"{name}_{count}" if count else name, operator, name))
    for place in places:
        nodes[place.operator].name = place.node
    _unique_names(model, {place.node for place in places}, [nodes[place.operator] for place in places])
    onnx.save(model, path)
    return places


def _unique_names(model: Any, taken: Any, ours: List[Any]) -> None:
    """Other nodes give way to layers of the same name."""
    for node in model.graph.node:
        if node.name in taken and not any(node is each for each in ours):
            node.name = f"{node.name}/{node.op_type}"


def _write_back(
    out: str, pb: str, frozen: Frozen, model: str, edits: Edits, network: Network
) -> List[str]:
    """Writes the frozen graph with the quantization in it, and its plan under stages/write-back; returns notes."""
    from dopt import safetensors
    from dopt.doors.tensorflow.write_back import WriteBack

    folder = os.path.join(out, "stages", "write-back")
    os.makedirs(folder, exist_ok=True)
    plan, numbers = write_back_of(edits, network)
    parameters = os.path.join(folder, "parameters.safetensors")
    safetensors.write(parameters, numbers)
    with open(os.path.join(folder, "write-back.json"), "w", encoding="utf-8") as file:
        json.dump(plan, file, indent=1)
    borders = {
        side: [{"name": each.name, "frameworkName": each.tensor} for each in ends]
        for side, ends in (("inputs", frozen.inputs), ("outputs", frozen.outputs))
    }
    try:
        back = WriteBack(frozen.graph_def, model, plan, parameters, borders, pb)
        graph_def, notes, unmapped = back.graph(True)
    except DoptError as error:
        if not error.code.startswith("WRITE_BACK_"):
            raise
        return [f"There is no .pb: {error.message}"]
    with open(f"{pb}.part", "wb") as file:
        file.write(graph_def.SerializeToString(deterministic=True))
    os.replace(f"{pb}.part", pb)
    return notes + [f"In the .pb, {each['tensor']} is not rounded: {each['reason']}." for each in unmapped]


def write_back_of(edits: Edits, network: Network) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """write-back.json (src/config/write-back.ts) and its numbers."""
    numbers: Dict[str, Any] = {}
    layers = []
    for layer in network.layers:
        node = edits.nodes[layer.name]
        place = edits.biases.get(layer.name)
        integers = edits.parameters[f"{layer.name}/weight/quantized"]
        numbers[f"{layer.name}/weight/integers"] = integers
        numbers[f"{layer.name}/weight/scale"] = np.asarray(layer.scales, np.float32)
        if layer.bias is not None:
            numbers[f"{layer.name}/bias"] = layer.bias.astype(np.float32) * layer.bias_scales()
        layers.append({
            "name": layer.name,
            "op": node["op"],
            "weight": node["inputs"][1],
            "weightIndex": 1,
            "axis": None if len(layer.scales) == 1 else edits.axes[layer.name],
            "groups": int(node["attributes"].get("group", 1)),
            "input": node["inputs"][0],
            "output": edits.nodes[place[0]]["outputs"][0] if place else node["outputs"][0],
            "batchNorm": None,
            # Also of zeros, which the ONNX form leaves out and the graph may have.
            "bias": None if layer.bias is None else dict(zip(("node", "index"), place or (layer.name, 2))),
        })
    activations = []
    for tensor, quantizer in edits.activations:
        source = tensor.split("#")[0]
        numbers[f"{source}/scale"] = np.asarray([quantizer.scale], np.float32)
        numbers[f"{source}/zero_point"] = np.asarray([quantizer.zero_point], np.int32)
        readers = [
            {"node": each["node"], "index": each["index"]}
            for each in edits.inputs
            if each["tensor"] == f"{tensor}/dequantized"
        ]
        grid = quantizer.grid
        activations.append({
            "tensor": source, "bits": grid.bits, "signed": grid.signed, "axis": None, "readers": readers,
        })  # fmt: skip
    return {"version": 1, "layers": layers, "activations": activations}, numbers


class ReadTensor(NamedTuple):
    """A quantized tensor that a node of the ONNX model reads. ``pads``: what the node itself pads it with, before and behind
    each spatial axis; converters take a padding of zeros before a convolution into it."""

    name: str
    pads: Tuple[int, ...]


def read_tensors(model: str, places: List[Place]) -> Dict[str, List[ReadTensor]]:
    """Of a written ONNX model, the quantized tensors that the nodes of layers and products read, by operator."""
    import onnx

    nodes = {node.name: node for node in onnx.load(model).graph.node}
    ending = "/dequantized"
    found: Dict[str, List[ReadTensor]] = {}
    for place in places:
        node = nodes[place.node]
        pads = next((tuple(each.ints) for each in node.attribute if each.name == "pads"), ())
        names = [name[: -len(ending)] for name in node.input[:2] if name.endswith(ending)]
        found[place.operator] = [ReadTensor(name, pads) for name in names]
    return found


def plain_name(name: str) -> str:
    """An operator's name without what the quantized layer's class puts into it: ``conv1/Conv2D``."""
    return name.replace("/Quantized", "/")
