"""Constant folding: nodes whose inputs are all constants are run once, by onnxruntime, and become weights."""

from typing import Any, Dict, List, Mapping, Set

from dopt.capture.branches import inline_branches
from dopt.capture.network import BFLOAT16, LOWEST_IR, STRING, Network, TensorType, Weight, attribute, make_tensor, reads, subgraphs
from dopt.capture.normalize import drop_dead, drop_identities
from dopt.capture.shapes import infer_types
from dopt.capture.symbolic import evaluate, static_values
from dopt.capture.targets import fix_targets

#: Never run ahead: random results, and quantized weights, which must stay on their grid.
_KEPT = {
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
}
#: Operators whose output may be far larger than what they read; folded only up to GROWTH_LIMIT.
_GROWING = {"ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "Upsample", "OneHot", "EyeLike", "ScatterND"}
GROWTH_LIMIT = 1 << 22
#: Elements of all inputs beyond which a node is left in the graph: folding would copy a weight that may not fit twice.
INPUT_LIMIT = 1 << 27
ROUNDS = 16


def simplify(network: Network) -> Dict[str, TensorType]:
    """Folds constants and static shapes and drops what passes through, until nothing changes; returns the types."""
    types = infer_types(network)
    for _ in range(ROUNDS):
        count = len(network.nodes)
        _drop_casts(network, types)
        inline_branches(network)
        drop_identities(network)
        values = evaluate(network, types)
        fix_targets(network, types, values)
        _replace(network, static_values(values, types))
        _fold(network, _constant_nodes(network, types))
        drop_dead(network)
        types = infer_types(network)
        if len(network.nodes) == count:
            break
    return types


def _constant_nodes(network: Network, types: Mapping[str, TensorType]) -> List[Any]:
    """Nodes that depend on constants alone, in order; a node producing a graph output stays."""
    constant = {name for name, weight in network.weights.items() if weight.type not in (BFLOAT16, STRING)}
    sizes = {name: network.weights[name].array.size for name in constant}
    outputs = set(network.output_names())
    found = []
    for node in network.nodes:
        given = [name for name in node.input if name]
        if (
            node.domain
            or node.op_type in _KEPT
            or outputs.intersection(node.output)
            or subgraphs(node)
            or not all(name in constant for name in given)
            or sum(sizes.get(name, 0) for name in given) > INPUT_LIMIT
            or (node.op_type in _GROWING and not _small(node, types))
        ):
            continue
        found.append(node)
        constant.update(name for name in node.output if name)
    return found


def _small(node: Any, types: Mapping[str, TensorType]) -> bool:
    known = types.get(node.output[0])
    shape = known.static_shape() if known is not None else None
    if shape is None:
        return False
    count = 1
    for size in shape:
        count *= size
    return count <= GROWTH_LIMIT


def _fold(network: Network, nodes: List[Any]) -> None:
    if not nodes:
        return
    results = _run(network, nodes)
    if results is None:
        # One node that onnxruntime has no kernel for must not keep the others: try them one by one.
        results = {}
        for node in nodes:
            known = {**network.weights, **results}
            if all(name in known for name in node.input if name):
                results.update(_run(network, [node], results) or {})
    _replace(network, results)


def _run(network: Network, nodes: List[Any], more: Any = None) -> Any:
    """Values of the nodes' outputs that something outside of ``nodes`` reads; None when onnxruntime cannot run them."""
    import onnxruntime as ort
    from onnx import ModelProto, ValueInfoProto, helper

    known = {**network.weights, **(more or {})}
    produced = [name for node in nodes for name in node.output if name]
    inside = {node.name for node in nodes}
    wanted = set(produced) if len(nodes) == 1 else _read_outside(network, inside) & set(produced)
    read = dict.fromkeys(name for node in nodes for name in node.input if name in known)
    model = ModelProto(ir_version=max(network.model.ir_version, LOWEST_IR))
    model.opset_import.extend(network.model.opset_import)
    model.graph.name = "constants"
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(make_tensor(name, known[name]) for name in read)
    names = [name for name in produced if name in wanted]
    model.graph.output.extend(ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        values = session.run(names, {})
    except Exception:  # noqa: BLE001 - whatever the reason, the nodes stay in the graph.
        return None
    import numpy as np

    return {
        name: Weight(helper.np_dtype_to_tensor_dtype(value.dtype), value)
        for name, value in zip(names, values)
        if isinstance(value, np.ndarray) and value.dtype != object
    }


def _read_outside(network: Network, inside: Set[str]) -> Set[str]:
    return {name for node in network.nodes if node.name not in inside for name in reads(node)}


def _replace(network: Network, values: Mapping[str, Weight]) -> None:
    """Nodes all of whose outputs have a known value go; the values become weights."""
    outputs = set(network.output_names())
    kept = []
    for node in network.nodes:
        names = [name for name in node.output if name]
        if names and all(name in values for name in names) and not outputs.intersection(names):
            network.weights.update((name, values[name]) for name in names)
        else:
            kept.append(node)
    if len(kept) < len(network.nodes):
        network.replace_nodes(kept)


def _drop_casts(network: Network, types: Mapping[str, TensorType]) -> None:
    """A Cast to the type that its input has already is an Identity."""
    for node in network.nodes:
        kind = attribute(node, "to") if node.op_type == "Cast" and not node.domain else None
        known = types.get(node.input[0]) if kind is not None else None
        if known is not None and known.type == kind.i:
            node.op_type = "Identity"
            del node.attribute[:]
