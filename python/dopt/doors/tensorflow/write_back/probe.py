"""Both forms of a network on the same inputs, with every tensor between input and output kept."""

from typing import Any, Dict, List, NamedTuple, Set

from dopt.doors.tensorflow.write_back.graph import Graph, cone, node_of
from dopt.errors import DoptError, in_a_line

#: Standard deviations of the random inputs. Two sizes, so that a tensor which a function leaves as it is at one size
#: (Relu6 of small values, an activation that nothing drives) is told from its neighbour at the other.
SCALES = (1.0, 24.0)
#: Between these, TensorFlow computes a tensor in one branch or turn of a loop only, and cannot hand it out.
_OPENING = {"Switch", "RefSwitch", "Enter", "RefEnter"}
_CLOSING = {"Merge", "RefMerge", "Exit", "RefExit"}


class Probe(NamedTuple):
    """Values of float32 tensors by name, one array for each run; and the constants that layers of TensorFlow read."""

    onnx: Dict[str, List[Any]]
    tensorflow: Dict[str, List[Any]]
    constants: Dict[str, Any]


def probe(graph: Graph, graph_def: Any, model: Any, borders: Any, constants: Set[str], place: str) -> Probe:
    """Runs a frozen GraphDef and a ModelProto on random inputs.

    ``borders``: inputs and outputs of METHODS.writeBack in src/bridge/protocol.ts. ``constants``: names of constant
    TensorFlow tensors wanted. Raises DoptError WRITE_BACK_RUN (external) when one of the two does not run.
    """
    import numpy as np

    inputs = {each["name"]: each["frameworkName"] for each in borders["inputs"]}
    outputs = [each["frameworkName"] for each in borders["outputs"]]
    produced, session = _exposed(model)
    fetched = _inner_tensors(graph, set(inputs.values()), outputs)
    rng = np.random.default_rng(0)
    found = Probe({}, {}, {})
    try:
        with _TensorFlow(graph_def) as framework:
            fetched = framework.floats(fetched)
            attempt = session.run_random(produced[-1:], {}, rng, 1)
            if attempt.feeds is None:
                raise ValueError(attempt.problem)
            for scale in SCALES:
                feeds = {name: _scaled(value, scale) for name, value in attempt.feeds.items()}
                _keep(found.onnx, [*zip(produced, session.run(produced, feeds)), *feeds.items()])
                given = {inputs[name]: value for name, value in feeds.items()}
                _keep(found.tensorflow, [*framework.run(fetched, given).items(), *given.items()])
            found.constants.update(framework.run(sorted(constants), {}))
    except Exception as error:  # noqa: BLE001 - both frameworks raise errors of many classes.
        raise DoptError(
            "WRITE_BACK_RUN",
            f"{place}: the graph and its ONNX form do not run on the same random inputs: {in_a_line(error, 200)}",
            kind="external",
            place=place,
            suggestions=["The quantized ONNX model in the run folder is whole; only the .pb cannot be written."],
        ) from error
    return found


def _keep(found: Dict[str, List[Any]], values: Any) -> None:
    for name, value in values:
        if value.dtype.kind == "f" and value.size:
            found.setdefault(name, []).append(value)


def _scaled(value: Any, scale: float) -> Any:
    return (value * scale).astype(value.dtype) if value.dtype.kind == "f" else value


def _exposed(model: Any) -> Any:
    """Every tensor that a node of the ModelProto produces, and a session that hands them out."""
    from onnx import ModelProto, ValueInfoProto

    from dopt.capture.runner import Session

    shown = ModelProto()
    shown.CopyFrom(model)
    names = [name for node in shown.graph.node for name in node.output if name]
    del shown.graph.output[:]
    shown.graph.output.extend(ValueInfoProto(name=name) for name in names)
    return names, Session(shown.SerializeToString())


def _inner_tensors(graph: Graph, inputs: Set[str], outputs: List[str]) -> List[str]:
    """Nodes that the outputs need from the inputs, without those inside loops and branches, in topological order."""
    needed: Set[str] = set()
    for output in outputs:
        if output not in inputs:
            needed |= cone(graph, output, inputs, set()).nodes
    inside: Set[str] = set()
    kept = []
    for name in sorted(needed, key=lambda each: graph.position.get(each, len(graph.position))):
        op = graph.nodes[name].op
        opened = op in _OPENING or any(node_of(tensor) in inside for tensor in graph.inputs(name))
        if opened and op not in _CLOSING:
            inside.add(name)
        elif name in graph.position and name not in graph.constants:
            kept.append(name)
    return kept


class _TensorFlow:
    """A session over a GraphDef."""

    def __init__(self, graph_def: Any) -> None:
        import tensorflow as tf

        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.import_graph_def(graph_def, name="")
        self._switches = [
            f"{node.name}:0"
            for node in graph_def.node
            if node.op == "Placeholder" and node.attr["dtype"].type == tf.bool.as_datatype_enum and not node.attr["shape"].shape.dim
        ]
        options = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        # Every inner tensor is asked for; the optimizer takes nodes apart without looking who reads their side results.
        options.graph_options.rewrite_options.disable_meta_optimizer = True
        self.session = tf.compat.v1.Session(graph=self.graph, config=options)

    def __enter__(self) -> "_TensorFlow":
        return self

    def __exit__(self, *_: Any) -> None:
        self.session.close()

    def floats(self, nodes: List[str]) -> List[str]:
        """The float32 tensors that the nodes produce."""
        import tensorflow as tf

        tensors = [tensor for name in nodes for tensor in self.graph.get_operation_by_name(name).outputs]
        return [tensor.name for tensor in tensors if tensor.dtype == tf.float32]

    def run(self, tensors: List[str], feeds: Dict[str, Any]) -> Dict[str, Any]:
        """Values of tensors. Scalar switches, which tell training from inference, are off as in the conversion."""
        switches = {name: False for name in self._switches if name not in feeds}
        return dict(zip(tensors, self.session.run(tensors, {**feeds, **switches})))
