"""Runs a model slice by slice over many samples, keeping only what later slices still need.

A model's nodes, in topological order, are cut after chosen tensors. Each slice becomes a small onnxruntime session
whose inputs are the tensors that cross the cut from the left. Every node runs once a sample, whatever the number of
cuts, so walking a network layer by layer costs one inference and not one inference a layer.
"""
import os

from dopt.execute.nodes import tensors_read
from dopt.execute.session import Executor, start_part


class SlicedModel:
    """A model cut after ``cuts`` (tensor names, in the order in which they are produced).

    ``feeds`` holds one dict a sample (graph input name -> array). ``variables`` are initializers that may change on
    the way (name -> array). ``prepare()`` opens the next slice; ``attempt(variables)`` computes the tensor at its cut
    for every sample without keeping anything; ``compute()`` computes the slice for good, again if variables changed.
    After that the tensor is ``values(tensor)`` (a list, one array a sample), and ``replace`` continues with other
    values. What only the open slice reads stays until the next one is opened.
    """

    def __init__(self, path, cuts, feeds, threads, variables=None, executor=None):
        import onnx

        self.threads, self.executor = threads, executor
        self.folder = os.path.dirname(os.path.abspath(path))
        self.model = onnx.load(path, load_external_data=False)
        self.initializers = {i.name: i for i in self.model.graph.initializer}
        self.variables = dict(variables or {})
        self.slices = cut_nodes(self.model.graph, cuts)
        self.cuts = list(cuts)
        self.last_use = last_slice_reading(self.slices)
        self.cache = [dict(feed) for feed in feeds]
        self.at = -1
        self.open = None

    def prepare(self, keep=()):
        """Opens the next slice; of what it computes, ``values`` has the cut and the tensors of ``keep`` besides."""
        self._drop()
        self.at += 1
        nodes = self.slices[self.at]
        produced = {name for node in nodes for name in node.output if name}
        kept = {self.cuts[self.at], *keep}
        wanted = [
            name
            for node in nodes
            for name in node.output
            if name and (self.last_use.get(name, -1) > self.at or name in kept)
        ]
        self.open = (*self._session(nodes, produced, wanted), wanted)

    def attempt(self, variables):
        """The tensor at the open slice's cut, one array a sample, with other values for some variables."""
        session, inputs, _ = self.open
        cut = self.cuts[self.at]
        trial = {**self.variables, **variables}
        return [session.run([cut], self._feeds(inputs, values, trial))[0] for values in self.cache]

    def compute(self):
        """Runs the open slice over all samples."""
        session, inputs, wanted = self.open
        for values in self.cache:
            values.update(zip(wanted, session.run(wanted, self._feeds(inputs, values, self.variables))))

    def _drop(self):
        """Forgets what no later slice reads."""
        for values in self.cache:
            for name in [n for n in values if self.last_use.get(n, -1) <= self.at]:
                del values[name]

    def values(self, tensor):
        """The tensor's value for every sample: the open slice's cut, what it keeps, or what it reads."""
        return [values[tensor] for values in self.cache]

    def has(self, tensor):
        """Whether ``values`` has the tensor at hand."""
        return tensor in self.cache[0]

    def replace(self, tensor, arrays):
        """Continues with other values for a tensor."""
        for values, array in zip(self.cache, arrays):
            values[tensor] = array

    def produced_now(self, tensor):
        """Whether the open slice computes the tensor itself."""
        return any(tensor in node.output for node in self.slices[self.at])

    def function(self, tensor, end):
        """``end``, which depends on ``tensor`` alone, as a function from values of ``tensor``: array to array.

        ``tensor`` is one that ``values`` has at hand.
        """
        producer = {name: node for node in self.model.graph.node for name in node.output}
        needed, stack = set(), [end]
        while stack:
            name = stack.pop()
            if name != tensor and name in producer and name not in needed:
                needed.update(producer[name].output)
                stack.extend(tensors_read(producer[name]))
        nodes = [node for node in self.model.graph.node if needed.intersection(node.output)]
        session, _ = self._session(nodes, needed, [end])
        return lambda array: session.run([end], {tensor: array})[0]

    def _feeds(self, inputs, values, variables):
        return {name: variables[name] if name in variables else values[name] for name in inputs}

    def _session(self, nodes, produced, wanted):
        import onnx
        import onnxruntime
        from onnx import helper

        read = [name for node in nodes for name in tensors_read(node) if name not in produced]
        fixed = [n for n in dict.fromkeys(read) if n in self.initializers and n not in self.variables]
        inputs = [n for n in dict.fromkeys(read) if n not in self.initializers or n in self.variables]
        example = {**self.cache[0], **self.variables}
        typed = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(example[name].dtype), [None] * example[name].ndim
            )
            for name in inputs
        ]
        # The types of the outputs are inferred by onnxruntime; only their names matter here.
        outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
        graph = helper.make_graph(nodes, "slice", typed, outputs, [self._constant(name) for name in fixed])
        model = helper.make_model(graph, opset_imports=self.model.opset_import)
        model.ir_version = self.model.ir_version
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        # What the QDQ file says is what runs without optimizations; with them integer kernels round differently.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return start_part(model, options, self.executor or Executor()), inputs

    def _constant(self, name):
        """An initializer with its data inside, read from the external file when it lies there."""
        from onnx import TensorProto
        from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

        tensor = self.initializers[name]
        if not uses_external_data(tensor):
            return tensor
        copy = TensorProto()
        copy.CopyFrom(tensor)
        load_external_data_for_tensor(copy, self.folder)
        copy.data_location = TensorProto.DEFAULT
        del copy.external_data[:]
        return copy


def cut_nodes(graph, cuts):
    """Partitions the nodes that the cuts need into consecutive slices, one a cut, in topological order.

    Slice k holds what cut k needs beyond the slices before it, so nodes that no cut depends on are left out.
    Raises DoptError when a cut is no tensor of the graph or depends on a later one.
    """
    from dopt.errors import DoptError

    producer = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    taken = set()
    slices = []
    for cut in cuts:
        if cut not in producer:
            raise DoptError("SLICE_UNKNOWN_TENSOR", "no node of the model produces %r" % cut, kind="bug")
        wanted, stack = set(), [producer[cut]]
        while stack:
            index = stack.pop()
            if index in taken or index in wanted:
                continue
            wanted.add(index)
            stack.extend(producer[name] for name in tensors_read(graph.node[index]) if name in producer)
        if not wanted:
            raise DoptError("SLICE_ORDER", "tensor %r is needed before its turn" % cut, kind="bug")
        taken |= wanted
        slices.append([graph.node[index] for index in sorted(wanted)])
    return slices


def last_slice_reading(slices):
    """The index of the last slice that reads each tensor from outside itself."""
    last = {}
    for index, nodes in enumerate(slices):
        for node in nodes:
            for name in tensors_read(node):
                last[name] = index
    return last
