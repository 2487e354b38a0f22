"""Writing the captured network: weights.safetensors, and float.onnx whose large weights point into it."""

import json
import os
from typing import Any, Dict

from dopt.capture.describe import VALUE_ELEMENTS, describe
from dopt.capture.network import ELEMENT_TYPES, Network, TensorType, make_tensor
from dopt.capture.shapes import write_types
from dopt.safetensors import Entry, TensorSpec, Writer, write_error

WEIGHTS, MODEL, GRAPH = "weights.safetensors", "float.onnx", "graph.json"


def save(network: Network, types: Dict[str, TensorType], folder: str) -> Dict[str, str]:
    """Writes the three files of a capture into ``folder`` and returns their paths; same network, same bytes.

    Weights of a type that safetensors does not know (text, complex) stay in float.onnx alone.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    network.weights = {name: network.weights[name] for name in sorted(network.weights)}
    entries = _write_weights(network, os.path.join(folder, WEIGHTS))
    model = _model(network, types, entries)
    write_bytes(os.path.join(folder, MODEL), model.SerializeToString(deterministic=True))
    text = json.dumps(describe(network, types), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    write_bytes(os.path.join(folder, GRAPH), text.encode("utf-8", "replace") + b"\n")
    return {"graph": os.path.join(folder, GRAPH), "model": os.path.join(folder, MODEL), "weights": os.path.join(folder, WEIGHTS)}


def write_bytes(path: str, data: bytes) -> None:
    """Writes a file whole, through a temporary file beside it. Raises DoptError OUTPUT_WRITE."""
    temporary = f"{path}.part"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        discard(temporary)
        raise write_error(path, error) from error


def discard(path: str) -> None:
    """Removes a temporary file if it is there."""
    try:
        os.unlink(path)
    except OSError:
        pass


def external_tensor(name: str, type_number: int, shape: Any, location: str, entry: Entry) -> Any:
    """A TensorProto whose data lies in another file."""
    from onnx import TensorProto

    tensor = TensorProto(name=name, data_type=type_number, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", entry.start), ("length", entry.end - entry.start)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _write_weights(network: Network, path: str) -> Dict[str, Entry]:
    specs = {}
    for name, weight in network.weights.items():
        dtype = ELEMENT_TYPES[weight.type][1]
        if dtype is not None:
            specs[name] = TensorSpec(dtype, tuple(int(size) for size in weight.array.shape))
    try:
        with Writer(f"{path}.part", specs) as writer:
            for name in writer.names:
                writer.put(name, network.weights[name].array)
        os.replace(f"{path}.part", path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        discard(f"{path}.part")
    return writer.entries


def _model(network: Network, types: Dict[str, TensorType], entries: Dict[str, Entry]) -> Any:
    from onnx import ModelProto

    write_types(network, types)
    model = ModelProto()
    model.CopyFrom(network.model)
    model.producer_name, model.producer_version = "dopt", ""
    for name, weight in network.weights.items():
        if weight.array.size > VALUE_ELEMENTS and name in entries:
            tensor = external_tensor(name, weight.type, weight.array.shape, WEIGHTS, entries[name])
        else:
            tensor = make_tensor(name, weight)
        model.graph.initializer.append(tensor)
    return model
