"""Which nodes of TensorFlow a layer of the ONNX form is: the one with the weight, and those up to its last tensor."""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set

from dopt.doors.tensorflow.write_back.correspondence import Place, base_name
from dopt.doors.tensorflow.write_back.graph import Graph, cone, node_of, sources
from dopt.doors.tensorflow.write_back.layouts import COUNTERPARTS, Layout, find_layout, weight_indices
from dopt.errors import DoptError

#: Operators behind a layer that a bias and a scale for each channel replace.
FOLDED = {
    "BiasAdd", "BiasAddV1", "Add", "AddV2", "Sub", "Mul", "RealDiv", "FusedBatchNorm", "FusedBatchNormV2",
    "FusedBatchNormV3", "BatchNormWithGlobalNormalization",
}  # fmt: skip
#: Those that add a bias.
ADDING = {"BiasAdd", "BiasAddV1", "Add", "AddV2", "Sub"}
#: Operators behind a layer that move its values and leave each in its channel.
MOVING = {
    "Identity", "StopGradient", "CheckNumerics", "Squeeze", "ExpandDims", "Reshape", "BatchToSpaceND", "BatchToSpace",
    "Slice", "StridedSlice", "Transpose", "Snapshot",
}  # fmt: skip
#: ONNX operators that may stand between a layer and the first tensor that TensorFlow has too.
_ONNX_MOVING = {"Slice", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity"}


class MappedLayer(NamedTuple):
    """A layer in TensorFlow.

    ``entry`` is a layer of write-back.json, ``node`` the TensorFlow node that reads the weight at ``weight_index``, ``path``
    the nodes behind it in order, the last of which is the layer's end; ``place`` is where the layer's result is.
    """

    entry: Dict[str, Any]
    node: str
    weight_index: int
    layout: Layout
    path: List[str]
    place: Place

    @property
    def tail(self) -> str:
        """The node whose name the layer's result has."""
        return self.path[-1] if self.path else self.node


def weight_tensors(graph: Graph) -> Set[str]:
    """Constant tensors that layers read as their weight."""
    return {tensor for name, node in graph.nodes.items() for tensor in _constants_at(graph, name, weight_indices(node.op))}


def added_tensors(graph: Graph) -> Set[str]:
    """Constant tensors that are added, as biases are."""
    return {t for name, node in graph.nodes.items() if node.op in ADDING for t in _constants_at(graph, name, (0, 1))}


def _constants_at(graph: Graph, name: str, indices: Iterable[int]) -> List[str]:
    inputs = graph.inputs(name)
    return [inputs[index] for index in indices if index < len(inputs) and graph.is_constant(inputs[index])]


class LayerMap:
    """Finds the counterparts of layers. ``place`` names the user's file in errors."""

    def __init__(
        self, graph: Graph, model: Any, places: Dict[str, Place], constants: Dict[str, Any], place: str
    ) -> None:
        from onnx import numpy_helper

        self.graph, self.places, self.constants, self.place = graph, places, constants, place
        self.initializers = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        self.onnx_nodes = {node.name: node for node in model.graph.node}
        self.onnx_readers: Dict[str, List[Any]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.onnx_readers.setdefault(name, []).append(node)
        self._taken: Set[str] = set()

    def find(self, entry: Dict[str, Any]) -> MappedLayer:
        """The counterpart of a layer of write-back.json. Raises DoptError WRITE_BACK_UNMAPPED (external)."""
        if entry["weight"] not in self.initializers:
            raise self._unmapped(entry, "the captured model has no such initializer")
        end = self._end(entry["output"])
        start = self.places.get(entry["input"])
        if end is None or start is None:
            missing = entry["output"] if end is None else entry["input"]
            raise self._unmapped(entry, f"no tensor of the graph has the values of {missing!r}")
        # Between the two, the ONNX form may have what the layer gives before its bias or batch normalization.
        inner = {*self.onnx_nodes[entry["name"]].output, entry["output"]}
        borders = {place.tensor for name, place in self.places.items() if name not in inner} - {end.tensor}
        between = cone(self.graph, end.tensor, sources(self.graph, start.tensor, borders), borders)
        if between.leak:
            raise self._unmapped(entry, f"{end.tensor!r} depends on {between.leak!r}, which the layer does not read")
        found = self._candidates(entry, between.nodes)
        if not found:
            raise self._unmapped(entry, f"no layer between {start.tensor!r} and {end.tensor!r} has this weight")
        chosen = min(found, key=lambda each: (each.node != base_name(entry["name"]), self.graph.position[each.node]))
        path = self._path(chosen.node, between.nodes)
        strange = [name for name in path if self.graph.nodes[name].op not in FOLDED | MOVING]
        if strange:
            raise self._unmapped(entry, f"{strange[0]!r} ({self.graph.nodes[strange[0]].op}) lies inside it")
        folded = [name for name in path if self.graph.nodes[name].op in FOLDED]
        if folded and entry["bias"] is None and all(self._adds_zeros(name) for name in folded):
            # The conversion drops a bias of zeros. It stays in TensorFlow, behind the layer.
            path, folded = path[: path.index(folded[0])], []
        if folded and entry["bias"] is None:
            raise self._unmapped(entry, f"{folded[0]!r} lies inside it, and the layer has no bias that could replace it")
        mapped = chosen._replace(path=path, place=end)
        sides = [tensor for tensor in self.graph.read if node_of(tensor) == mapped.tail and tensor != f"{mapped.tail}:0"]
        if folded and sides:
            raise self._unmapped(entry, f"the graph reads {min(sides)!r}, a side result of its normalization")
        self._taken.add(chosen.node)
        return mapped

    def _adds_zeros(self, name: str) -> bool:
        node, inputs = self.graph.nodes[name], self.graph.inputs(name)
        added = inputs if node.op in ("Add", "AddV2") else inputs[1:] if node.op in ADDING else []
        return any(tensor in self.constants and not self.constants[tensor].any() for tensor in added)

    def _end(self, tensor: str) -> Optional[Place]:
        """Place of a layer's result, or of the first tensor behind it that only moves its values."""
        while tensor not in self.places:
            readers = self.onnx_readers.get(tensor, [])
            if len(readers) != 1 or readers[0].op_type not in _ONNX_MOVING:
                return None
            tensor = readers[0].output[0]
        return self.places[tensor]

    def _candidates(self, entry: Dict[str, Any], names: Set[str]) -> List[MappedLayer]:
        initializer, found = self.initializers[entry["weight"]], []
        for name in names:
            node = self.graph.nodes[name]
            if node.op not in COUNTERPARTS.get(entry["op"], ()) or name in self._taken:
                continue
            inputs = self.graph.inputs(name)
            for index in weight_indices(node.op):
                weight = self.constants.get(inputs[index])
                layout = None if weight is None else find_layout(node, index, weight, initializer, entry["axis"])
                if layout is not None:
                    found.append(MappedLayer(entry, name, index, layout, [], self.places[entry["input"]]))
        return found

    def _path(self, start: str, names: Set[str]) -> List[str]:
        """Nodes among ``names`` that depend on the layer's node, in topological order."""
        path, reached = [], {start}
        for name in sorted(names, key=lambda each: self.graph.position[each]):
            if name != start and any(node_of(tensor) in reached for tensor in self.graph.inputs(name)):
                reached.add(name)
                path.append(name)
        return path

    def _unmapped(self, entry: Dict[str, Any], reason: str) -> DoptError:
        return DoptError(
            "WRITE_BACK_UNMAPPED",
            f"{self.place}: layer {entry['name']!r} with weight {entry['weight']!r} has no counterpart in the graph: {reason}.",
            kind="external",
            place=self.place,
            suggestions=[
                f"Leave the layer in float: --exclude '{entry['name']}'",
                "The quantized ONNX model in the run folder is whole; only the .pb cannot be written.",
            ],
        )

