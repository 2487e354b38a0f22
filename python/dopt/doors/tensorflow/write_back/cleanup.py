"""What goes before the edits of a graph, and what is left after them: without nodes that nothing needs, and accepted."""

from typing import Any, Dict, Iterable, List, Set

from dopt.doors.tensorflow.write_back.graph import Graph, input_entry, node_of, tensor_name
from dopt.errors import DoptError, in_a_line


def bypass_identity_n(graph_def: Any, keep: Iterable[str]) -> Any:
    """A copy in which readers of ``IdentityN`` read what it reads; the nodes of the tensors ``keep`` stay.

    It hands several tensors through at once and only carries a gradient for training: Keras ends each swish with one. A
    tensor behind it would seem to depend on all that it reads.
    """
    result = type(graph_def)()
    result.CopyFrom(graph_def)
    nodes = {node.name: node for node in result.node}
    kept = {node_of(tensor) for tensor in keep}
    passed: Dict[str, str] = {}
    for node in result.node:
        data = [entry for entry in node.input if not entry.startswith("^")]
        if node.op == "IdentityN" and len(data) == len(node.input):
            passed.update((f"{node.name}:{index}", tensor_name(entry)) for index, entry in enumerate(data))
    for node in result.node:
        for index, entry in enumerate(node.input):
            tensor = entry if entry.startswith("^") else tensor_name(entry)
            while tensor in passed:
                tensor = passed[tensor]
            node.input[index] = entry if tensor.startswith("^") else input_entry(tensor)
    waited_for = {entry[1:] for node in result.node for entry in node.input if entry.startswith("^")}
    gone = {node_of(tensor) for tensor in passed} - kept - waited_for
    left = [node for name, node in nodes.items() if name not in gone]
    copies = [type(node).FromString(node.SerializeToString()) for node in left]
    del result.node[:]
    result.node.extend(copies)
    return result


def finish(graph: Graph, opened: Graph, keep: Iterable[str], place: str) -> Any:
    """The GraphDef of the edited ``graph``: file order, new nodes last, unused nodes left out.

    Everything stays that was a result in ``opened``, the graph before the edits, and the nodes of the tensors ``keep``.
    Raises DoptError WRITE_BACK_CHECK (external) when TensorFlow refuses the result.
    """
    idle = _idle(opened)
    for name, node in graph.nodes.items():
        kept = [entry for entry in node.input if not (entry.startswith("^") and entry[1:] in idle)]
        if len(kept) < len(node.input):
            del node.input[:]
            node.input.extend(kept)
    roots = {name for name in opened.nodes if not _is_read(opened, name) and name not in idle}
    roots |= {node_of(tensor) for tensor in keep}
    roots |= {name for name, node in opened.nodes.items() if node.op.startswith("Placeholder")}
    needed = _needed(graph, roots)
    result = graph.graph_def(name for name in graph.nodes if name in needed)
    _check(result, place)
    return result


def _idle(graph: Graph) -> Set[str]:
    """Nodes that compute nothing from the inputs: constants, and NoOp that waits for such nodes only.

    A control dependency on one of them orders nothing. Keras leaves one on every variable there was.
    """
    found = set(graph.constants)
    for name in sorted(graph.position, key=lambda each: graph.position[each]):
        node = graph.nodes[name]
        if node.op == "NoOp" and all(entry.lstrip("^") in found for entry in node.input):
            found.add(name)
    # Constants inside a loop or a branch belong to it by their control dependency.
    return {name for name in found if graph.nodes[name].op == "NoOp" or not _bound(graph, name, found)}


def _bound(graph: Graph, name: str, idle: Set[str]) -> bool:
    return any(entry.startswith("^") and entry[1:] not in idle for entry in graph.nodes[name].input)


def _is_read(graph: Graph, name: str) -> bool:
    return bool(graph.consumers(name))


def _needed(graph: Graph, roots: Set[str]) -> Set[str]:
    found: Set[str] = set()
    waiting: List[str] = sorted(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(node_of(entry.lstrip("^")) for entry in graph.nodes[name].input)
    return found


def _check(graph_def: Any, place: str) -> None:
    import tensorflow as tf

    try:
        with tf.Graph().as_default():
            tf.import_graph_def(graph_def, name="")
    except Exception as error:  # noqa: BLE001 - TensorFlow raises errors of many classes.
        raise DoptError(
            "WRITE_BACK_CHECK",
            f"{place}: TensorFlow {tf.__version__} refuses the graph with quantized weights: {in_a_line(error)}",
            kind="external",
            place=place,
            suggestions=["Please report this with the run folder attached."],
        ) from error
