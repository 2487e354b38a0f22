"""Initializers as numpy arrays: inline, external (memory-mapped) and sparse ones, each checked before it is used."""

import os
from typing import Any, Dict, List

from dopt.capture.network import BFLOAT16, ELEMENT_TYPES, STRING, Network, Weight, all_graphs
from dopt.errors import DoptError
from dopt.safetensors import CHUNK

_NUMPY_NAMES = {number: name for number, (name, _) in ELEMENT_TYPES.items()}
_NUMPY_NAMES[BFLOAT16] = "uint16"


class ExternalFiles:
    """The external data files of one model; remembers which were used."""

    def __init__(self, model_path: str) -> None:
        self.model_path = model_path
        self.folder = os.path.dirname(os.path.abspath(model_path))
        self._used: Dict[str, str] = {}

    def names(self) -> List[str]:
        """Locations met so far, as written in the model, sorted."""
        return sorted(self._used)

    def digest_into(self, name: str, digest: Any) -> int:
        """Adds a file's bytes to a hashlib object and returns how many there were."""
        size = 0
        with open(self._used[name], "rb") as file:
            for piece in iter(lambda: file.read(CHUNK), b""):
                digest.update(piece)
                size += len(piece)
        return size

    def map(self, tensor: Any) -> Any:
        """A tensor's external data as a read-only memory map of its type and shape."""
        import numpy as np

        keys = {entry.key: entry.value for entry in tensor.external_data}
        location = keys.get("location", "")
        parts = location.replace("\\", "/").split("/")
        if not location or os.path.isabs(location) or ".." in parts or "\0" in location:
            raise self._error(tensor, f"names the external file {location!r}, which does not lie beside the model")
        path = os.path.join(self.folder, location)
        if not os.path.isfile(path):
            raise self._error(
                tensor,
                f"has its data in {location!r}, and {path} does not exist",
                [f"Copy {location} into the folder of the model, under the name the model was saved with."],
            )
        dtype = np.dtype(_NUMPY_NAMES[tensor.data_type]).newbyteorder("<")
        expected = element_count(tensor) * dtype.itemsize
        try:
            offset = int(keys.get("offset", 0))
            length = int(keys.get("length", expected))
        except ValueError as error:
            raise self._error(tensor, f"has an external data entry that is no number ({error})") from error
        size = os.path.getsize(path)
        if offset < 0 or length != expected or offset + length > size:
            raise self._error(
                tensor,
                f"wants {expected} bytes of {location!r}: entry says {length} at {offset}, the file has {size}",
                [f"{location} is cut short or belongs to another model: copy it again."],
            )
        self._used[location] = path
        shape = tuple(tensor.dims)
        return np.memmap(path, dtype, "r", offset, shape) if expected else np.zeros(shape, dtype)

    def _error(self, tensor: Any, problem: str, suggestions: Any = None) -> DoptError:
        return DoptError(
            "MODEL_EXTERNAL_DATA",
            f"{self.model_path}: tensor {tensor.name!r} {problem}.",
            place=self.model_path,
            suggestions=suggestions or ["Save the model again with its external data beside it."],
        )


def element_count(tensor: Any) -> int:
    """Product of a TensorProto's sizes. Raises ValueError on negative ones."""
    count = 1
    for size in tensor.dims:
        if size < 0:
            raise ValueError(f"a size of {size}")
        count *= size
    return count


def to_weight(tensor: Any, files: ExternalFiles) -> Weight:
    """A TensorProto as a Weight. Raises DoptError MODEL_TENSOR when type, sizes and data do not fit together."""
    import numpy as np
    from onnx import TensorProto, numpy_helper

    try:
        if tensor.data_type not in ELEMENT_TYPES:
            raise ValueError(f"element type {tensor.data_type} is not supported")
        count = element_count(tensor)
        if tensor.data_location == TensorProto.EXTERNAL:
            if tensor.data_type == STRING:
                raise ValueError("text cannot be external data")
            return Weight(tensor.data_type, files.map(tensor))
        if tensor.HasField("raw_data") and tensor.data_type != STRING:
            dtype = np.dtype(_NUMPY_NAMES[tensor.data_type]).newbyteorder("<")
            if len(tensor.raw_data) != count * dtype.itemsize:
                raise ValueError(f"{len(tensor.raw_data)} bytes of data, {count * dtype.itemsize} expected")
            return Weight(tensor.data_type, np.frombuffer(tensor.raw_data, dtype).reshape(tuple(tensor.dims)))
        if tensor.data_type == BFLOAT16:
            return Weight(BFLOAT16, np.array(tensor.int32_data, np.uint16).reshape(tuple(tensor.dims)))
        if tensor.data_type == STRING:
            return Weight(STRING, np.array(list(tensor.string_data), object).reshape(tuple(tensor.dims)))
        return Weight(tensor.data_type, numpy_helper.to_array(tensor))
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise DoptError(
            "MODEL_TENSOR",
            f"{files.model_path}: tensor {tensor.name!r} of sizes {list(tensor.dims)} is damaged: {error}.",
            place=files.model_path,
            suggestions=["Export the model again."],
        ) from error


def take_weights(network: Network, files: ExternalFiles) -> None:
    """Moves the graph's initializers into ``network.weights``; external data inside attributes is read in."""
    graph = network.graph
    for tensor in graph.initializer:
        if tensor.name in network.weights or not tensor.name:
            raise network.error("MODEL_INVALID", f"two initializers are called {tensor.name!r}.")
        network.weights[tensor.name] = to_weight(tensor, files)
    del graph.initializer[:]
    for sparse in graph.sparse_initializer:
        network.weights[sparse.values.name] = _dense(network, sparse, files)
    del graph.sparse_initializer[:]
    for inner in all_graphs(graph):
        for tensor in [*inner.initializer, *_attribute_tensors(inner)]:
            _inline(tensor, files)


def _attribute_tensors(graph: Any) -> List[Any]:
    attributes = [item for node in graph.node for item in node.attribute]
    return [item.t for item in attributes if item.HasField("t")] + [t for item in attributes for t in item.tensors]


def _inline(tensor: Any, files: ExternalFiles) -> None:
    """Checks a tensor that stays where it is, and reads it in when it is external."""
    from onnx import TensorProto

    weight = to_weight(tensor, files)
    if tensor.data_location == TensorProto.EXTERNAL:
        tensor.raw_data = weight.array.tobytes()
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _dense(network: Network, sparse: Any, files: ExternalFiles) -> Weight:
    """A sparse initializer (COO, linear or row-wise indices) as an ordinary array."""
    import numpy as np

    values, indices = to_weight(sparse.values, files), to_weight(sparse.indices, files)
    try:
        where = indices.array if indices.array.ndim == 1 else np.ravel_multi_index(tuple(indices.array.T), tuple(sparse.dims))
        dense = np.zeros(tuple(sparse.dims), values.array.dtype)
        dense.reshape(-1)[where] = values.array
    except (ValueError, IndexError, MemoryError) as error:
        raise network.error("MODEL_TENSOR", f"sparse tensor {sparse.values.name!r} is damaged: {error}.") from error
    return Weight(values.type, dense)
