"""An ONNX graph made node by node, its tensors in one file beside it."""

import os
from typing import Any, Dict, List, Optional, Sequence

from dopt.capture.save import external_tensor
from dopt.safetensors import Entry, write_error

OPSET, IR_VERSION = 21, 10
#: TensorProto.INT4, which the onnx package of older profiles has no name for.
INT4 = 22
DATA = "model.onnx.data"
#: Beginnings of tensors are multiples of this, for memory mapping.
PAGE = 4096
#: Tensors of fewer bytes lie in the graph.
SMALL = 256


class GraphBuilder:
    """Nodes and initializers of a graph; data of initializers go to the disk as they come."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "model.onnx")
        self._nodes: List[Any] = []
        self._tensors: Dict[str, Any] = {}
        self._counts: Dict[str, int] = {}
        try:
            self._data = open(os.path.join(folder, DATA), "wb")
        except OSError as error:
            raise write_error(folder, error) from error

    def constant(self, name: str, array: Any, kind: Optional[int] = None, shape: Optional[Sequence[int]] = None) -> str:
        """A tensor by name, stored once; ``kind`` and ``shape`` are for packed integers."""
        from onnx import TensorProto, numpy_helper

        if name in self._tensors:
            return name
        if kind is None and array.nbytes < SMALL:
            self._tensors[name] = numpy_helper.from_array(array, name)
            return name
        if kind is None:
            kind = numpy_helper.from_array(array[:0] if array.ndim else array, "").data_type
        try:
            self._data.write(bytes(-self._data.tell() % PAGE))
            start = self._data.tell()
            self._data.write(array.tobytes())
        except OSError as error:
            raise write_error(self._path, error) from error
        place = Entry("", (), start, self._data.tell())
        dims = [int(size) for size in (array.shape if shape is None else shape)]
        self._tensors[name] = external_tensor(name, kind, dims, DATA, place)
        assert self._tensors[name].data_location == TensorProto.EXTERNAL
        return name

    def ints(self, *values: int) -> str:
        """A vector of int64."""
        import numpy as np

        return self.constant("ints." + ".".join(map(str, values)), np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """A float32."""
        import numpy as np

        return self.constant(f"float.{value!r}", np.array(value, np.float32))

    def add(self, operator: str, inputs: Sequence[str], output: Optional[str] = None, domain: str = "", **attributes: Any) -> str:
        """A node with one output, whose name is given back."""
        from onnx import helper

        if output is None:
            number = self._counts.get(operator, 0)
            self._counts[operator] = number + 1
            output = f"{operator.lower()}.{number}"
        node = helper.make_node(operator, list(inputs), [output], name=f"node.{output}", domain=domain, **attributes)
        self._nodes.append(node)
        return output

    def save(self, inputs: Sequence[Any], outputs: Sequence[Any], producer: str = "dopt") -> str:
        """Writes model.onnx; returns its path. ``inputs`` and ``outputs``: (name, element type, shape)."""
        from onnx import helper

        values = [[helper.make_tensor_value_info(*each) for each in group] for group in (inputs, outputs)]
        graph = helper.make_graph(self._nodes, "decoder", values[0], values[1], list(self._tensors.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name=producer)
        model.ir_version = IR_VERSION
        try:
            self._data.flush()
            os.fsync(self._data.fileno())
            self._data.close()
            with open(self._path, "wb") as file:
                file.write(model.SerializeToString(deterministic=True))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(self._path, error) from error
        return self._path
