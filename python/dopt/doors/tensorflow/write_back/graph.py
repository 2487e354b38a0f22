"""A frozen GraphDef that can be asked who reads what, and edited by name."""

from typing import Any, Dict, Iterable, List, NamedTuple, Set

#: Loops close through these; leaving their inputs out makes the graph one that can be ordered.
_BACK_EDGES = {"NextIteration", "RefNextIteration"}
#: Never constant, whatever they read: their value differs between runs, or they belong to a loop or a branch.
_NEVER_CONSTANT = {
    "Placeholder", "PlaceholderWithDefault", "PlaceholderV2", "NoOp", "Enter", "Exit", "Switch", "Merge", "NextIteration",
    "LoopCond", "RefEnter", "RefExit", "RefSwitch", "RefMerge", "RefNextIteration",
}  # fmt: skip
#: What these give depends on the shape of what they read, not on its values.
_SHAPE_OPS = {"Shape", "ShapeN", "Size", "Rank"}
#: Operators whose output 0 holds the elements of input 0 in the same order.
SAME_ORDER = {"Identity", "StopGradient", "CheckNumerics", "Snapshot", "Squeeze", "ExpandDims", "Reshape"}


class Edge(NamedTuple):
    """One data input of a node."""

    node: str
    index: int


def tensor_name(entry: str) -> str:
    """``name:index`` for a data input as NodeDef writes it, where ``:0`` is left out."""
    return entry if ":" in entry else f"{entry}:0"


def node_of(tensor: str) -> str:
    """The node that produces ``name:index``."""
    return tensor.rpartition(":")[0] if ":" in tensor else tensor


def input_entry(tensor: str) -> str:
    """``name:index`` as NodeDef writes it."""
    name, _, index = tensor.rpartition(":")
    return name if index == "0" else tensor


def set_input(node: Any, index: int, tensor: str) -> None:
    """Makes data input ``index`` of a NodeDef read ``tensor``."""
    data = [place for place, entry in enumerate(node.input) if not entry.startswith("^")]
    node.input[data[index]] = input_entry(tensor)


class Graph:
    """Nodes by name in file order. Readers, positions and constants are those of the graph as it was opened."""

    def __init__(self, graph_def: Any) -> None:
        self._graph_def = type(graph_def)()
        self._graph_def.CopyFrom(graph_def)
        self.nodes: Dict[str, Any] = {node.name: node for node in self._graph_def.node}
        #: Tensors that are read by any node.
        self.read: Set[str] = set()
        self._consumers: Dict[str, Set[str]] = {}
        for node in graph_def.node:
            for tensor in self.inputs(node.name):
                self.read.add(tensor)
                self._consumers.setdefault(node_of(tensor), set()).add(node.name)
        order = self._ordered()
        #: Place of each node in a stable topological order.
        self.position = {name: place for place, name in enumerate(order)}
        self.constants = self._constants(order)

    def inputs(self, name: str) -> List[str]:
        """Tensors that a node reads, control inputs left out."""
        return [tensor_name(entry) for entry in self.nodes[name].input if not entry.startswith("^")]

    def consumers(self, name: str) -> Set[str]:
        """Nodes that read any output of a node."""
        return self._consumers.get(name, set())

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor depends on Const nodes alone."""
        return node_of(tensor) in self.constants

    def redirect(self, edge: Edge, tensor: str) -> None:
        """Makes an input read another tensor."""
        set_input(self.nodes[edge.node], edge.index, tensor)

    def free_name(self, wanted: str) -> str:
        """``wanted``, or ``wanted_1``, ``wanted_2``, … when a node is called so."""
        from dopt.capture.network import unique_name

        return unique_name(wanted, set(self.nodes))

    def add(self, node: Any) -> str:
        """Adds a node under a name that is free; returns its output 0."""
        self.nodes[node.name] = node
        return f"{node.name}:0"

    def graph_def(self, nodes: Iterable[str]) -> Any:
        """A GraphDef of these nodes, with the versions and functions of the one that was opened."""
        result = type(self._graph_def)()
        result.versions.CopyFrom(self._graph_def.versions)
        result.library.CopyFrom(self._graph_def.library)
        result.node.extend(self.nodes[name] for name in nodes)
        return result

    def _ordered(self) -> List[str]:
        waiting: Dict[str, int] = {}
        after: Dict[str, List[str]] = {}
        for name, node in self.nodes.items():
            needed = {node_of(entry.lstrip("^")) for entry in node.input} if node.op not in _BACK_EDGES else set()
            needed = {source for source in needed if source in self.nodes}
            waiting[name] = len(needed)
            for source in needed:
                after.setdefault(source, []).append(name)
        ready = [name for name, count in waiting.items() if count == 0]
        order = []
        for name in ready:
            order.append(name)
            for reader in after.get(name, []):
                waiting[reader] -= 1
                if waiting[reader] == 0:
                    ready.append(reader)
        return order

    def _constants(self, order: Iterable[str]) -> Set[str]:
        found: Set[str] = set()
        for name in order:
            node = self.nodes[name]
            inputs = self.inputs(name)
            if node.op == "Const" or (inputs and _is_pure(node.op) and all(node_of(each) in found for each in inputs)):
                found.add(name)
        return found


def _is_pure(op: str) -> bool:
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(op)
    return op not in _NEVER_CONSTANT and definition is not None and not definition.is_stateful


class Cone(NamedTuple):
    """What lies between a tensor and the tensors that it is computed from.

    ``nodes``: the nodes between, constants left out. ``edges``: the inputs at which each cut tensor enters. ``leak``: a
    tensor that the result depends on besides those, "" when there is none.
    """

    nodes: Set[str]
    edges: Dict[str, List[Edge]]
    leak: str


def cone(graph: Graph, end: str, cuts: Set[str], borders: Set[str]) -> Cone:
    """Walks back from tensor ``end`` to the tensors ``cuts``; tensors in ``borders`` must not be passed."""
    nodes: Set[str] = set()
    edges: Dict[str, List[Edge]] = {}
    if end in cuts:
        return Cone(nodes, edges, "")
    waiting, leak = [node_of(end)], ""
    while waiting:
        name = waiting.pop()
        if name in nodes:
            continue
        nodes.add(name)
        inputs = graph.inputs(name)
        if not inputs and not leak:
            leak = f"{name}:0"
        for index, tensor in enumerate(inputs):
            if tensor in cuts:
                edges.setdefault(tensor, []).append(Edge(name, index))
            elif graph.is_constant(tensor) or graph.nodes[node_of(tensor)].op in _SHAPE_OPS:
                continue
            elif tensor in borders:
                leak = leak or tensor
            else:
                waiting.append(node_of(tensor))
    return Cone(nodes, edges, leak)


def sources(graph: Graph, tensor: str, borders: Set[str]) -> Set[str]:
    """A tensor and those before it with the same elements in the same order, up to one in ``borders``."""
    found = {tensor}
    while graph.nodes[node_of(tensor)].op in SAME_ORDER:
        tensor = graph.inputs(node_of(tensor))[0]
        if tensor in borders or graph.is_constant(tensor):
            break
        found.add(tensor)
    return found
