"""Which inputs of TensorFlow nodes stand for the inputs of ONNX nodes that read a rounded value."""

from typing import Any, Dict, List, NamedTuple, Set

from dopt.doors.tensorflow.write_back.correspondence import Place
from dopt.doors.tensorflow.write_back.graph import Edge, Graph, cone, node_of, sources


class NotThere(Exception):
    """Why TensorFlow has no counterpart of an activation's reader."""


class _Part(NamedTuple):
    """ONNX nodes that have one counterpart in TensorFlow, and the tensors that TensorFlow has again behind them."""

    nodes: List[Any]
    ends: List[str]


class ReaderMap:
    """Finds the inputs of TensorFlow nodes through which the readers of an ONNX tensor read it."""

    def __init__(self, graph: Graph, model: Any, places: Dict[str, Place]) -> None:
        self.graph, self.places = graph, places
        self.nodes = {node.name: node for node in model.graph.node}
        self.constants = {each.name for each in model.graph.initializer}
        self.outputs = {value.name for value in model.graph.output}
        self.readers: Dict[str, List[Any]] = {}
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        self.borders = {place.tensor for place in places.values()}

    def edges(self, tensor: str, readers: List[Dict[str, Any]]) -> List[Edge]:
        """Inputs of TensorFlow nodes for the listed inputs of ONNX nodes.

        ``readers``: node and index, as in write-back.json. Raises NotThere with the reason.
        """
        if tensor not in self.places:
            raise NotThere("no tensor of the graph has its values")
        listed: Dict[str, Set[int]] = {}
        for reader in readers:
            listed.setdefault(reader["node"], set()).add(reader["index"])
        for name, indices in listed.items():
            reading = {index for index, each in enumerate(self.nodes[name].input) if each == tensor}
            if reading != indices:
                raise NotThere(f"{name} reads it both rounded and as it is")
        found: Dict[Edge, None] = {}
        inside: Set[str] = set()
        ends: Set[str] = set()
        self._collect(tensor, set(listed), found, inside, ends)
        self._check_closed(inside, ends)
        return sorted(found, key=lambda edge: (self.graph.position[edge.node], edge.index))

    def _collect(self, tensor: str, listed: Set[str], found: Dict[Edge, None], inside: Set[str], ends: Set[str]) -> None:
        for name in sorted(listed):
            node = self.nodes[name]
            if self._stands_for_nothing(node):
                # A Transpose or Reshape of the converter's: its readers read the same tensor in TensorFlow.
                output = node.output[0]
                if output in self.outputs:
                    raise NotThere(f"the output {output!r} is the same tensor in the graph, and is not rounded")
                self._collect(output, {each.name for each in self.readers.get(output, [])}, found, inside, ends)
                continue
            part = self._part(node)
            others = [each.name for each in part.nodes if tensor in each.input and each.name not in listed]
            if others:
                raise NotThere(f"one node of the graph stands for {name} and {others[0]}, which reads it as it is")
            self._cut(tensor, part, found, inside, ends)

    def _stands_for_nothing(self, node: Any) -> bool:
        data = [name for name in node.input if name in self.places]
        return (
            len(data) == 1
            and node.output[0] in self.places
            and self.places[data[0]].tensor == self.places[node.output[0]].tensor
        )

    def _part(self, node: Any) -> _Part:
        """The node, and those behind it up to tensors that TensorFlow computes too."""
        part, waiting, ends = [], [node], []
        while waiting:
            each = waiting.pop()
            if any(each.name == other.name for other in part):
                continue
            part.append(each)
            for output in each.output:
                if output in self.places:
                    ends.append(output)
                elif output in self.outputs:
                    raise NotThere(f"no tensor of the graph has the values of the output {output!r}")
                else:
                    waiting.extend(self.readers.get(output, []))
        return _Part(part, ends)

    def _cut(self, tensor: str, part: _Part, found: Dict[Edge, None], inside: Set[str], ends: Set[str]) -> None:
        """Adds the edges at which ``tensor`` enters the counterpart of ``part``."""
        produced = {name for node in part.nodes for name in node.output}
        read = {name for node in part.nodes for name in node.input if name and name not in produced | self.constants}
        own = sources(self.graph, self.places[tensor].tensor, self.borders)
        cuts = set(own)
        for name in read - {tensor}:
            if name in self.places:
                cuts |= sources(self.graph, self.places[name].tensor, self.borders)
        if not part.ends:
            raise NotThere(f"no tensor of the graph has the values of what {part.nodes[0].name} gives")
        entered = False
        for end in part.ends:
            place = self.places[end]
            between = cone(self.graph, place.tensor, cuts - {place.tensor}, self.borders - {place.tensor})
            if between.leak:
                raise NotThere(f"{place.tensor!r} of the graph depends on {between.leak!r} too")
            inside |= between.nodes
            ends.add(node_of(place.tensor))
            for source in own:
                for edge in between.edges.get(source, []):
                    found[edge] = None
                    entered = True
        if not entered:
            raise NotThere(f"{self.places[part.ends[0]].tensor!r} of the graph is computed without it")

    def _check_closed(self, inside: Set[str], ends: Set[str]) -> None:
        """Nodes before the readers' results must serve those results only: others would read rounded values too."""
        for name in sorted(inside - ends):
            others = self.graph.consumers(name) - inside
            if others:
                raise NotThere(f"{name!r} of the graph also serves {min(others)!r}, which reads it as it is")
