"""plan.json (src/config/plan.ts) of a network that was trained: one group an operator, quantizers at layer inputs."""

from typing import Any, Dict, List

from dopt.plugin.edits import Edits
from dopt.plugin.numbers import Network

_KINDS = {"Conv": "conv", "ConvTranspose": "convtranspose", "Gemm": "gemm", "MatMul": "matmul"}


def plan(network: Network, edits: Edits, graph: Dict[str, Any], left: List[Dict[str, Any]]) -> Dict[str, Any]:
    """The plan as the report reads it. ``left``: nodes that stay float."""
    float_names = {each["node"] for each in left}
    producers = {output: node["name"] for node in graph["nodes"] for output in node["outputs"]}
    weights = {layer.name: layer for layer in network.layers}
    return {
        "version": 1,
        "strategy": network.widths.replace("8-4", "8-8"),
        "target": network.target,
        "storage": "float16",
        "folds": [],
        "groups": [_group(node, float_names) for node in graph["nodes"]],
        "activations": [
            {
                "tensor": tensor,
                "format": _format(quantizer.grid),
                "range": {"kind": "observed"},
                "producer": producers.get(tensor.split("#")[0]),
                "channelAxis": None,
            }
            for tensor, quantizer in edits.activations
        ],
        "weights": [
            {
                "tensor": edits.nodes[name]["inputs"][1],
                "node": name,
                "format": {"bits": layer.bits, "signed": True, "symmetric": True},
                "axis": None if len(layer.scales) == 1 else edits.axes[name],
                "groups": int(edits.nodes[name]["attributes"].get("group", 1)),
            }
            for name, layer in weights.items()
        ],
        "concats": [],
        "floatNodes": left,
    }


def float_nodes(network: Network, graph: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Operators that stay float: what the settings say, and what the target has no integer form of."""
    quantized = {layer.name for layer in network.layers} | {reading.node for reading in network.readings}
    asked = {layer.name: layer for layer in network.float_layers}
    nodes = []
    for node in graph["nodes"]:
        if node["name"] in quantized:
            continue
        if node["name"] in asked:
            reason, cause = asked[node["name"]].reason, "excluded"
        else:
            reason, cause = "computed in float between quantized tensors", "policy"
        nodes.append({"node": node["name"], "op": node["op"], "reason": reason, "cause": cause})
    return nodes


def _group(node: Dict[str, Any], float_names: Any) -> Dict[str, Any]:
    return {
        "name": node["name"],
        "kind": _KINDS.get(node["op"], "activation"),
        "nodes": [node["name"]],
        "inputs": [name for name in node["inputs"][:1] if name],
        "output": node["outputs"][0],
        "quantized": node["name"] not in float_names,
        "activation": None,
    }


def _format(grid: Any) -> Dict[str, Any]:
    return {"bits": grid.bits, "signed": grid.signed, "symmetric": grid.symmetric}
