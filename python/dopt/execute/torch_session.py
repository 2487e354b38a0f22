"""A captured graph run by PyTorch on a device, in the place of an onnxruntime session.

Each node is a function of ``torch_ops``; the few that PyTorch has no equal of (and whatever holds a subgraph) are run by
onnxruntime on the processor, each as a model of its own, so that every graph runs. Values are freed behind their last reader.
onnx2torch (1.5.15, of August 2024) would convert graphs too, but has no quantizers, needs torchvision and names no tensors.
"""

from typing import Any, Dict, List, Optional, Sequence

from dopt.execute.nodes import tensors_read
from dopt.execute.session_options import session_options
from dopt.execute.torch_node import Attributes, Unsupported
from dopt.execute.torch_ops import operator

#: Inputs that operators read as numbers: they stay on the processor.
_NUMBERS = {
    "Reshape": {1}, "Slice": {1, 2, 3, 4}, "Pad": {1, 2, 3}, "Expand": {1}, "Tile": {1}, "Unsqueeze": {1}, "Squeeze": {1},
    "Split": {1}, "Resize": {1, 2, 3}, "Clip": {1, 2}, "ConstantOfShape": {0}, "ReduceMean": {1}, "ReduceSum": {1},
    "ReduceMax": {1}, "ReduceMin": {1}, "ReduceL1": {1}, "ReduceL2": {1}, "ReduceSumSquare": {1},
}  # fmt: skip


class _Argument:
    """What ``InferenceSession.get_inputs`` tells of an input, and ``get_outputs`` of an output."""

    def __init__(self, name: str) -> None:
        self.name = name


class TorchSession:
    """``model``: a ModelProto; external data lies in ``folder``. ``device``: a torch.device."""

    def __init__(self, model: Any, folder: str, device: Any, threads: int) -> None:
        import torch
        from onnx import numpy_helper

        self.device, self._threads = device, threads
        graph = model.graph
        self._opsets, self._ir = model.opset_import, model.ir_version
        #: Outputs, in the order of ``tensors``.
        self.names = [value.name for value in graph.output]
        self._host = {each.name: torch.from_numpy(numpy_helper.to_array(each, folder).copy()) for each in graph.initializer}
        self._there: Dict[str, Any] = {}
        self._inputs = [value.name for value in graph.input if value.name not in self._host]
        self._nodes = [(node, operator(node.op_type, node.domain), Attributes(node)) for node in graph.node]
        self._last = {name: at for at, (node, _, _) in enumerate(self._nodes) for name in tensors_read(node)}
        #: Names of the operators that onnxruntime ran.
        self.foreign: Dict[str, int] = {}
        self._sessions: Dict[int, Any] = {}

    def get_inputs(self) -> List[_Argument]:
        """As onnxruntime's."""
        return [_Argument(name) for name in self._inputs]

    def get_outputs(self) -> List[_Argument]:
        """As onnxruntime's."""
        return [_Argument(name) for name in self.names]

    def run(self, names: Sequence[str], feeds: Dict[str, Any]) -> List[Any]:
        """Arrays of outputs, as onnxruntime's."""
        found = dict(zip(self.names, self.tensors(feeds)))
        return [found[name].cpu().numpy() for name in names]

    def tensors(self, feeds: Dict[str, Any]) -> List[Any]:
        """All outputs, in order, as tensors that lie where they were computed. feeds: numpy arrays by name."""
        import torch

        values = {name: torch.from_numpy(feeds[name]).to(self.device) for name in self._inputs}
        kept = set(self.names)
        with torch.no_grad():
            for at, (node, function, attributes) in enumerate(self._nodes):
                values.update(zip(node.output, self._compute(at, node, function, attributes, values)))
                for name in tensors_read(node):
                    if self._last[name] == at and name not in kept:
                        values.pop(name, None)
                for name in node.output:
                    if name not in self._last and name not in kept:
                        values.pop(name, None)
        return [values[name] if name in values else self._constant(name, False) for name in self.names]

    def _compute(self, at: int, node: Any, function: Any, attributes: Attributes, values: Dict[str, Any]) -> Sequence[Any]:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            return [self._literal(node.output[0], attributes)]
        if function is not None:
            try:
                found = function(attributes, self._given(node, values), len(node.output))
                return found if isinstance(found, tuple) else [found]
            except Unsupported:
                pass
        self.foreign[node.op_type] = self.foreign.get(node.op_type, 0) + 1
        return self._by_onnxruntime(at, node, values)

    def _given(self, node: Any, values: Dict[str, Any]) -> List[Optional[Any]]:
        """The inputs of a node, together where most of them have to be."""
        as_numbers = _NUMBERS.get(node.op_type, set())
        moving = [values[name] for at, name in enumerate(node.input) if name in values and at not in as_numbers]
        on_host = bool(moving) and all(each.device.type == "cpu" for each in moving)
        found: List[Optional[Any]] = []
        for at, name in enumerate(node.input):
            if not name:
                found.append(None)
            elif name not in values:
                found.append(self._constant(name, on_host or at in as_numbers))
            else:
                value = values[name]
                found.append(value if on_host or at in as_numbers else value.to(self.device))
        return found

    def _constant(self, name: str, on_host: bool) -> Any:
        if on_host:
            return self._host[name]
        if name not in self._there:
            self._there[name] = self._host[name].to(self.device)
        return self._there[name]

    def _literal(self, name: str, attributes: Attributes) -> Any:
        import torch
        from onnx import numpy_helper

        if name not in self._host:
            value = attributes.get("value")
            if value is not None:
                array = numpy_helper.to_array(value).copy()
                self._host[name] = torch.from_numpy(array)
            else:
                plain = next(v for v in (attributes.get(f"value_{kind}") for kind in ("float", "int", "floats", "ints")) if v is not None)
                self._host[name] = torch.tensor(plain, dtype=torch.float32 if "float" in str(type(plain)) else None)
        return self._constant(name, not self._host[name].is_floating_point())

    def _by_onnxruntime(self, at: int, node: Any, values: Dict[str, Any]) -> List[Any]:
        import torch

        read = dict.fromkeys(tensors_read(node))
        feeds = {name: (values[name].cpu() if name in values else self._host[name]).numpy() for name in read}
        names = [name for name in node.output if name]
        if at not in self._sessions:
            self._sessions[at] = self._session(node, feeds, names)
        found = dict(zip(names, self._sessions[at].run(names, feeds)))
        tensors = {name: torch.from_numpy(array) for name, array in found.items()}
        return [
            None if name not in tensors else tensors[name].to(self.device) if tensors[name].is_floating_point() else tensors[name]
            for name in node.output
        ]

    def _session(self, node: Any, feeds: Dict[str, Any], names: Sequence[str]) -> Any:
        import onnx
        import onnxruntime
        from onnx import helper

        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
            for name, array in feeds.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in names]
        graph = helper.make_graph([node], "node", inputs, outputs)
        model = helper.make_model(graph, opset_imports=self._opsets, ir_version=self._ir)
        options = session_options(self._threads)
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def types_of(model: Any, names: Sequence[str]) -> Dict[str, str]:
    """Type of each tensor, ``tensor(float)``, as the model says or ONNX infers it; float where neither does."""
    import onnx
    from onnx import TensorProto

    def known(graph: Any) -> Dict[str, int]:
        return {each.name: each.type.tensor_type.elem_type for each in [*graph.value_info, *graph.output] if each.type.tensor_type.elem_type}

    found = known(model.graph)
    if any(name not in found for name in names):
        found = {**known(onnx.shape_inference.infer_shapes(model).graph), **found}
    words: Dict[int, str] = {TensorProto.FLOAT: "float", TensorProto.FLOAT16: "float16", TensorProto.DOUBLE: "double"}
    return {
        name: f"tensor({words.get(found.get(name, TensorProto.FLOAT)) or TensorProto.DataType.Name(found[name]).lower()})"
        for name in names
    }

