"""If nodes whose condition is a constant: the branch that is taken moves into the graph around it."""

from typing import Any, Dict, List, Set

from dopt.capture.network import Network, attribute, rename_reads, unique_name
from dopt.capture.tensors import ExternalFiles, to_weight


def inline_branches(network: Network) -> None:
    """Replaces every If of the main graph whose condition is a weight by the nodes of the branch taken."""
    if not any(_decided(network, node) for node in network.nodes):
        return
    tensors = network.tensor_names()
    names = {node.name for node in network.nodes}
    nodes: List[Any] = []
    for node in network.nodes:
        nodes.extend(_inline(network, node, tensors, names) if _decided(network, node) else [node])
    network.replace_nodes(nodes)


def _decided(network: Network, node: Any) -> bool:
    return node.op_type == "If" and not node.domain and len(node.input) == 1 and node.input[0] in network.weights


def _inline(network: Network, node: Any, tensors: Set[str], names: Set[str]) -> List[Any]:
    from onnx import GraphProto, NodeProto

    taken = bool(network.weights[node.input[0]].array.any())
    chosen = attribute(node, "then_branch" if taken else "else_branch")
    if chosen is None or len(chosen.g.output) != len(node.output):
        return [node]
    branch = GraphProto()
    branch.CopyFrom(chosen.g)
    files = ExternalFiles(network.path)
    fresh: Dict[str, str] = {}
    for tensor in branch.initializer:
        fresh[tensor.name] = unique_name(f"{node.name}/{tensor.name}", tensors)
        network.weights[fresh[tensor.name]] = to_weight(tensor, files)
    for inner in branch.node:
        fresh.update((name, unique_name(f"{node.name}/{name}", tensors)) for name in inner.output if name)
    rename_reads(branch.node, fresh)
    for inner in branch.node:
        inner.name = unique_name(f"{node.name}/{inner.name or inner.op_type}", names)
        for index, name in enumerate(inner.output):
            inner.output[index] = fresh.get(name, name)
    # A branch may hand out an outer tensor or one tensor twice, so its results get their names through Identity nodes.
    results = [
        NodeProto(
            name=unique_name(f"{node.name}/Identity", names),
            op_type="Identity",
            input=[fresh.get(value.name, value.name)],
            output=[name],
        )
        for value, name in zip(branch.output, node.output)
        if name
    ]
    return [*branch.node, *results]
