"""Runs parts of a model: what lies between tensors that are given and tensors that are wanted."""

from typing import Any, Dict, Iterable, List, Sequence, Set

from dopt.execute.nodes import tensors_read
from dopt.execute.session import Executor, start_part
from dopt.execute.session_options import session_options


class Network:
    """The model at ``path``, read once.

    ``exact``: parts run without graph optimizations, as the file says; otherwise with those that keep float networks what
    they are up to rounding.
    """

    def __init__(self, path: str, threads: int, exact: bool, executor: Executor = Executor()) -> None:
        import onnx

        self._model = onnx.load(path)
        graph = self._model.graph
        self._threads, self._exact, self._executor = threads, exact, executor
        self.nodes = list(graph.node)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in self.constants]
        self.outputs = [value.name for value in graph.output]
        self.reads = [[name for name in tensors_read(node) if name not in self.constants] for node in self.nodes]
        self.producer = {name: index for index, node in enumerate(self.nodes) for name in node.output if name}

    def needed(self, wanted: Iterable[str], given: Set[str]) -> List[int]:
        """Indices of the nodes that compute ``wanted`` from ``given`` tensors, in graph order."""
        found: Set[int] = set()
        stack = [name for name in wanted if name not in given]
        while stack:
            index = self.producer.get(stack.pop())
            if index is not None and index not in found:
                found.add(index)
                stack.extend(name for name in self.reads[index] if name not in given)
        return sorted(found)

    def part(self, wanted: Sequence[str], given: Dict[str, Any], variable: Sequence[str] = ()) -> "Part":
        """A session for ``wanted`` tensors.

        ``given`` holds an array for each tensor that may be fed, of its type and rank; a part takes those that it needs.
        ``variable`` names initializers that are fed, too, instead of being constant.
        """
        import onnx
        import onnxruntime
        from onnx import helper, numpy_helper

        nodes = self.needed(wanted, set(given))
        read = dict.fromkeys(name for index in nodes for name in tensors_read(self.nodes[index]))
        read.update(dict.fromkeys(wanted))
        types = {}
        for name in read:
            if name in given:
                types[name] = (helper.np_dtype_to_tensor_dtype(given[name].dtype), given[name].ndim)
            elif name in variable:
                array = numpy_helper.to_array(self.constants[name])
                types[name] = (self.constants[name].data_type, array.ndim)
        inputs = [helper.make_tensor_value_info(name, kind, [None] * rank) for name, (kind, rank) in types.items()]
        fixed = [self.constants[name] for name in read if name in self.constants and name not in types]
        outputs = [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(wanted) if name not in given]
        graph = helper.make_graph([self.nodes[index] for index in nodes], "part", inputs, outputs, fixed)
        model = helper.make_model(graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)
        options = session_options(self._threads)
        level = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_DISABLE_ALL if self._exact else level.ORT_ENABLE_EXTENDED
        session = None
        if outputs:
            session = start_part(model, options, self._executor)
        return Part(session, list(types), list(wanted))


class Part:
    """``inputs`` are what ``run`` takes from its feeds; ``outputs`` what it gives, in order."""

    def __init__(self, session: Any, inputs: List[str], outputs: List[str]) -> None:
        self._session, self.inputs, self.outputs = session, inputs, outputs
        self._computed = [value.name for value in session.get_outputs()] if session else []

    def run(self, feeds: Dict[str, Any]) -> List[Any]:
        """Arrays of the outputs; those that were given are handed through."""
        computed: Dict[str, Any] = {}
        if self._session is not None:
            arrays = self._session.run(self._computed, {name: feeds[name] for name in self.inputs})
            computed = dict(zip(self._computed, arrays))
        return [computed[name] if name in computed else feeds[name] for name in self.outputs]


class Walk:
    """Computes a network over several samples piece by piece, keeping only what the rest of it still reads.

    ``cache`` holds one dict a sample: the arrays of graph inputs and computed tensors by name.
    """

    def __init__(self, network: Network, feeds: Sequence[Dict[str, Any]]) -> None:
        self.network = network
        self.cache: List[Dict[str, Any]] = [dict(feed) for feed in feeds]
        self._rest = set(network.needed(network.outputs, set(network.inputs)))

    @property
    def crossing(self) -> List[str]:
        """Tensors computed so far that the rest of the network reads, or that are outputs."""
        read = {name for index in self._rest for name in self.network.reads[index]}
        return [name for name in self.cache[0] if name in read or name in self.network.outputs]

    def slice(self, wanted: Sequence[str], variable: Sequence[str] = ()) -> Part:
        """A part for ``wanted`` and for everything computed on the way there that will be read later."""
        network = self.network
        nodes = network.needed(wanted, set(self.cache[0]))
        later = {name for index in self._rest.difference(nodes) for name in network.reads[index]}
        later.update(network.outputs, wanted)
        made = [name for index in nodes for name in network.nodes[index].output if name in later]
        return network.part(list(dict.fromkeys([*wanted, *made])), self.cache[0], variable)

    def advance(self, wanted: Sequence[str], keep: Iterable[str] = ()) -> None:
        """Computes ``wanted`` and drops what neither the rest of the network nor ``keep`` asks for."""
        done = self.network.needed(wanted, set(self.cache[0]))
        part = self.slice(wanted)
        for values in self.cache:
            values.update(zip(part.outputs, part.run(values)))
        self._rest.difference_update(done)
        kept = {*self.crossing, *wanted, *keep}
        for values in self.cache:
            for name in [name for name in values if name not in kept]:
                del values[name]

    def has(self, tensor: str) -> bool:
        """Whether the tensor's values are at hand."""
        return tensor in self.cache[0]

    @property
    def bytes(self) -> int:
        """Bytes of the cached arrays of the first sample."""
        return sum(array.nbytes for array in self.cache[0].values())
