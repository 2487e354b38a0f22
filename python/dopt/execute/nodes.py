"""What the nodes of an ONNX graph read."""

from typing import Any, List


def tensors_read(node: Any) -> List[str]:
    """Names of the tensors a node reads, those captured by its subgraphs included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.HasField("g") else list(attribute.graphs):
            names.extend(captured(graph))
    return names


def captured(graph: Any) -> List[str]:
    """Names a subgraph takes from outside."""
    inside = {i.name for i in graph.initializer} | {i.name for i in graph.input}
    names = []
    for node in graph.node:
        names.extend(name for name in tensors_read(node) if name not in inside)
        inside.update(node.output)
    return names
