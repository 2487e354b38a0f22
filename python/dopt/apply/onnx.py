"""Method ``rewrite``: carries out the edits of a rewrite.json (src/config/rewrite.ts) on an ONNX file, deciding nothing."""

import json
import os
from typing import Any, Dict, List, Set

from dopt.apply.attributes import make_attributes
from dopt.apply.output import write_model
from dopt.capture.network import Network, TensorType, Weight, make_value, reads, value_type
from dopt.capture.normalize import drop_dead, topological_order
from dopt.capture.shapes import infer_types
from dopt.capture.tensors import ExternalFiles, take_weights
from dopt.errors import DoptError

_SAFETENSORS_TYPES = {
    "F32": 1, "U8": 2, "I8": 3, "U16": 4, "I16": 5, "I32": 6, "I64": 7,
    "BOOL": 9, "F16": 10, "F64": 11, "U32": 12, "U64": 13, "BF16": 16,
}  # fmt: skip


def rewrite(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Applies the edits, sorts the nodes, drops what nothing reads, checks and saves the model.

    Parameters and result: METHODS.rewrite in src/bridge/protocol.ts. Same inputs give the same bytes, and the file
    appears under its name only when it is whole. Raises DoptError REWRITE (bug) for edits that do not fit the model,
    OUTPUT_WRITE (environment) for a full or read-only disk, REWRITE_CHECK (external) when the result is refused.
    """
    events.progress(0, 3, "editing the model")
    network = _read(params["model"])
    with open(params["rewrite"], encoding="utf-8") as file:
        edits = json.load(file)
    known = {**network.stated}
    apply_edits(network, edits, _parameters(params["parameters"], edits["initializers"]))
    _type_outputs(network, known)
    events.progress(1, 3, "writing the model")
    files = write_model(network, params["out"], params["externalDataAbove"], params["check"], events)
    events.progress(3, 3, "written")
    return {"files": files}


def apply_edits(network: Network, edits: Dict[str, Any], parameters: Dict[str, Weight]) -> None:
    """Changes the network in place; afterwards it is sorted and holds nothing that nothing reads."""
    nodes = {node.name: node for node in network.nodes}

    def find(name: str, edit: str) -> Any:
        if name not in nodes:
            raise _bug(network, f"{edit} names node {name!r}, which the model does not have")
        return nodes[name]

    removed = {find(name, "removeNodes").name for name in edits["removeNodes"]}
    network.weights.update(parameters)
    for edit in edits["inputs"]:
        _set_tensor(network, find(edit["node"], "inputs").input, edit, "inputs", grow=1)
    for edit in edits["outputs"]:
        _set_tensor(network, find(edit["node"], "outputs").output, edit, "outputs", grow=0)
    versions = {entry.domain: entry.version for entry in network.model.opset_import}
    for edit in edits.get("attributes", []):
        node = find(edit["node"], "attributes")
        # Tensors and graphs cannot be written as JSON attributes: those stay.
        kept = [item for item in node.attribute if item.HasField("t") or item.HasField("g") or item.graphs]
        made = make_attributes(node.op_type, node.domain, edit["attributes"], versions)
        kept = [_twin(item) for item in kept if item.name not in edit["attributes"]]
        del node.attribute[:]
        node.attribute.extend(kept + made)
    kept_nodes = [_twin(node) for node in network.nodes if node.name not in removed]
    names = {node.name for node in kept_nodes}
    for added in edits["addNodes"]:
        if added["name"] in names:
            raise _bug(network, f"addNodes names {added['name']!r}, which exists already")
        names.add(added["name"])
        _import_domain(network, added.get("domain", ""), versions)
        kept_nodes.append(_new_node(added, versions))
    network.replace_nodes(kept_nodes)
    present = set(network.output_names())
    network.graph.output.extend(make_value(name, None) for name in edits["extraOutputs"] if name not in present)
    _sort(network)
    drop_dead(network)


def _read(path: str) -> Network:
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise DoptError(
            "REWRITE_INPUT",
            f"Cannot read {path}: {error.strerror}.",
            kind="environment",
            place=path,
            suggestions=["Start the run again without --resume."],
        ) from error
    network = Network(path, model, {})
    take_weights(network, ExternalFiles(path))
    for value in [*model.graph.value_info, *model.graph.output]:
        found = value_type(value)
        if found is not None:
            network.stated[value.name] = found
    return network


def _parameters(path: Any, names: List[str]) -> Dict[str, Weight]:
    from dopt import safetensors

    if not names:
        return {}
    header = safetensors.read_header(path) if path else {}
    missing = [name for name in names if name not in header]
    if missing:
        raise DoptError(
            "REWRITE",
            f"{path or 'parameters'}: there is no tensor {missing[0]!r} to make an initializer of.",
            kind="bug",
            place=path,
        )
    return {
        name: Weight(_SAFETENSORS_TYPES[header[name].dtype], safetensors.map_tensor(path, header[name])) for name in names
    }


def _set_tensor(network: Network, tensors: Any, edit: Dict[str, Any], kind: str, grow: int) -> None:
    index = edit["index"]
    if not 0 <= index < len(tensors) + grow:
        raise _bug(network, f"{kind} sets tensor {index} of node {edit['node']!r}, which has {len(tensors)}")
    if index == len(tensors):
        tensors.append(edit["tensor"])
    else:
        tensors[index] = edit["tensor"]


def _import_domain(network: Network, domain: str, versions: Dict[str, int]) -> None:
    if domain and domain not in versions:
        versions[domain] = 1
        network.model.opset_import.add(domain=domain, version=1)


def _new_node(added: Dict[str, Any], versions: Dict[str, int]) -> Any:
    from onnx import NodeProto

    node = NodeProto(name=added["name"], op_type=added["op"], domain=added.get("domain", ""))
    node.input.extend(added["inputs"])
    node.output.extend(added["outputs"])
    node.attribute.extend(make_attributes(node.op_type, node.domain, added.get("attributes", {}), versions))
    return node


def _sort(network: Network) -> None:
    """Stable topological order; every tensor must have exactly one producer."""
    available: Set[str] = set(network.weights) | set(network.input_names())
    for node in network.nodes:
        for name in node.output:
            if name and name in available:
                raise _bug(network, f"tensor {name!r} is produced twice (node {node.name!r})")
            available.add(name)
    for node in network.nodes:
        missing = [name for name in reads(node) if name not in available]
        if missing:
            raise _bug(network, f"node {node.name!r} reads {missing[0]!r}, which nothing produces")
    missing = [name for name in network.output_names() if name not in available]
    if missing:
        raise _bug(network, f"nothing produces the graph output {missing[0]!r}")
    order = topological_order(network.nodes)
    if order is None:
        raise _bug(network, "the edits make a loop")
    network.replace_nodes([network.nodes[index] for index in order])


def _type_outputs(network: Network, known: Dict[str, TensorType]) -> None:
    """Gives added outputs a type: inferred, else stated by the model, else float32."""
    del network.graph.value_info[:]
    untyped = [value for value in network.graph.output if value_type(value) is None]
    if not untyped:
        return
    inferred = infer_types(network)
    for value in untyped:
        found = inferred.get(value.name) or known.get(value.name) or TensorType(1, None)
        value.CopyFrom(make_value(value.name, found))


def _twin(message: Any) -> Any:
    twin = type(message)()
    twin.CopyFrom(message)
    return twin


def _bug(network: Network, problem: str) -> DoptError:
    return DoptError(
        "REWRITE",
        f"{network.path}: {problem}.",
        kind="bug",
        place=network.path,
        suggestions=["This is a defect in dopt: please report it with the run folder attached."],
    )
