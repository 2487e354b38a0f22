"""Reading an ONNX file with suspicion: everything that can be wrong with it becomes an error that says what to do."""

import hashlib
import os
import warnings
from difflib import get_close_matches
from typing import Any, Dict, List, Tuple

from dopt.capture.network import Network, all_graphs
from dopt.capture.tensors import ExternalFiles, take_weights
from dopt.errors import DoptError

OLDEST_OPSET, NEWEST_OPSET = 7, 20
OLDEST_IR, NEWEST_IR = 3, 9
#: protobuf cannot hold more in one message.
PROTOBUF_LIMIT = (1 << 31) - 1

_QUANTIZED_OPS = {
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "ConvInteger",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
}
#: (offset, bytes, what the file is, what to do with it).
_OTHER_FORMATS = [
    (0, b"version https://git-lfs", "a Git LFS pointer, not the model itself", "Run `git lfs pull` in its repository."),
    (0, b"PK\x03\x04", "a zip archive, as PyTorch writes them", "Export the model to ONNX, or unpack the archive."),
    (0, b"\x89HDF", "an HDF5 file, as Keras writes them", "Export the model to ONNX (tf2onnx)."),
    (4, b"TFL3", "a TensorFlow Lite model", "Export the model to ONNX (tf2onnx)."),
    (4, b"ORTM", "an onnxruntime .ort file", "Give the .onnx file it was made from."),
    (0, b"\x1f\x8b", "gzip-compressed", "Unpack it first."),
    (0, b"\x80\x02", "a Python pickle, as PyTorch writes them", "Export the model to ONNX (torch.onnx.export)."),
    (0, b"\x7fELF", "a program", "Give the path of an .onnx file."),
    (0, b"<!DOCTYPE", "a web page", "The download went wrong: fetch the file again."),
    (0, b"<html", "a web page", "The download went wrong: fetch the file again."),
]


def load(path: str) -> Tuple[Network, Dict[str, Any]]:
    """Reads a model and takes its weights out (memory maps where they are external data).

    Returns the network and the ``source`` entry of the result: path, bytes and SHA-256 over the model file followed
    by its external data files in sorted order. Raises DoptError for whatever is wrong with the file.
    """
    data = _read_bytes(path)
    model = _parse(path, data)
    _check_versions(path, model)
    _check_float(path, model)
    files = ExternalFiles(path)
    digest, size = hashlib.sha256(data), len(data)
    del data
    network = Network(path, model, {})
    take_weights(network, files)
    network.has_external_data = bool(files.names())
    for name in files.names():
        digest.update(name.encode())
        size += files.digest_into(name, digest)
    return network, {"path": os.path.abspath(path), "bytes": size, "sha256": digest.hexdigest()}


def _read_bytes(path: str) -> bytes:
    try:
        if os.path.isdir(path):
            raise DoptError(
                "MODEL_NOT_A_FILE",
                f"{path} is a folder; an ONNX file is expected.",
                place=path,
                suggestions=_onnx_files(path),
            )
        size = os.path.getsize(path)
        if size > PROTOBUF_LIMIT:
            raise DoptError(
                "MODEL_TOO_LARGE",
                f"{path} has {size} bytes; an ONNX file cannot be larger than 2 GiB.",
                place=path,
                suggestions=["Save the model with external data: onnx.save(model, path, save_as_external_data=True)."],
            )
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError as error:
        folder = os.path.dirname(os.path.abspath(path))
        raise DoptError(
            "MODEL_NOT_FOUND",
            f"There is no file {path}.",
            place=path,
            suggestions=_near_files(folder, os.path.basename(path)) or ["Check the path of the model."],
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DoptError(
            "MODEL_UNREADABLE", f"Cannot read {path}: {reason}.", place=path, suggestions=["Check its permissions."]
        ) from error
    if not data:
        raise DoptError(
            "MODEL_EMPTY_FILE",
            f"{path} is empty (0 bytes).",
            place=path,
            suggestions=["Export or download the model again."],
        )
    return data


def _parse(path: str, data: bytes) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    for offset, magic, what, remedy in _OTHER_FORMATS:
        if data[offset : offset + len(magic)] == magic:
            raise DoptError("MODEL_NOT_ONNX", f"{path} is {what}; an ONNX model is expected.", place=path, suggestions=[remedy])
    extension = os.path.splitext(path)[1]
    if extension.lower() != ".onnx":
        raise DoptError(
            "MODEL_EXTENSION",
            f"{path} ends in {extension or 'no extension'!r}; an ONNX model ends in '.onnx'.",
            place=path,
            suggestions=["If the file is an ONNX model, rename it to end in .onnx."],
        )
    model = onnx.ModelProto()
    try:
        with warnings.catch_warnings(record=True) as caught:
            # protobuf only warns of bytes that belong to nothing.
            warnings.simplefilter("always")
            model.ParseFromString(data)
        if caught:
            raise DecodeError(str(caught[0].message))
        _check_text(model)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise DoptError(
            "MODEL_NOT_ONNX",
            f"{path} ({len(data)} bytes) is cut short or no ONNX file: {error}.",
            place=path,
            suggestions=["Compare the file's size with its source and copy or export it again."],
        ) from error
    if not model.graph.node:
        # Random bytes often parse as a message without content.
        found = "no graph" if not model.HasField("graph") else "a graph without a single node"
        raise DoptError(
            "MODEL_EMPTY_GRAPH",
            f"{path} ({len(data)} bytes) holds {found}: it is damaged or no ONNX model.",
            place=path,
            suggestions=["Export the model again and check it with onnx.checker."],
        )
    return model


def _check_text(model: Any) -> None:
    """Raises DecodeError for a name that is no UTF-8: protobuf hands it out as bytes, and nothing later expects that."""
    from google.protobuf.message import DecodeError

    texts: List[Any] = [entry.domain for entry in model.opset_import]
    for graph in all_graphs(model.graph):
        values = [*graph.input, *graph.output, *graph.value_info]
        texts.append(graph.name)
        texts.extend(item.name for item in [*values, *graph.initializer])
        texts.extend(dim.dim_param for value in values for dim in value.type.tensor_type.shape.dim)
        for node in graph.node:
            texts.extend([node.name, node.op_type, node.domain, *node.input, *node.output])
            texts.extend(item.name for item in node.attribute)
    broken = next((text for text in texts if not isinstance(text, str)), None)
    if broken is not None:
        raise DecodeError(f"a name is no UTF-8 text: {broken[:40]!r}")


def _check_versions(path: str, model: Any) -> None:
    if not OLDEST_IR <= model.ir_version <= NEWEST_IR:
        raise DoptError(
            "MODEL_IR_VERSION",
            f"{path} has ONNX IR version {model.ir_version}; versions {OLDEST_IR} to {NEWEST_IR} are supported.",
            place=path,
            suggestions=["Export the model with an opset from 7 to 20 and an onnx release up to 1.15."],
        )
    versions: Dict[str, List[int]] = {}
    for entry in model.opset_import:
        entry.domain = "" if entry.domain == "ai.onnx" else entry.domain
        versions.setdefault(entry.domain, []).append(entry.version)
    opset = max(versions.get("", [0]))
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        found = f"opset {opset}" if opset else "no version of the default operator set"
        raise DoptError(
            "MODEL_OPSET",
            f"{path} names {found}; opsets {OLDEST_OPSET} to {NEWEST_OPSET} are supported.",
            place=path,
            suggestions=["Export the model again, for example with torch.onnx.export(..., opset_version=13)."],
        )
    del model.opset_import[:]
    for domain, found_versions in versions.items():
        model.opset_import.add(domain=domain, version=max(found_versions))


def _check_float(path: str, model: Any) -> None:
    for graph in all_graphs(model.graph):
        for node in graph.node:
            node.domain = "" if node.domain == "ai.onnx" else node.domain
            if node.op_type in _QUANTIZED_OPS:
                raise DoptError(
                    "MODEL_ALREADY_QUANTIZED",
                    f"{path} is quantized already: node {node.name or node.output[:1]!r} is a {node.op_type}.",
                    place=path,
                    suggestions=["Give the float model that it was made from."],
                )


def _near_files(folder: str, name: str) -> List[str]:
    near = get_close_matches(name, _listing(folder), n=3, cutoff=0.6)
    return [f"Did you mean {os.path.join(folder, other)}?" for other in near]


def _onnx_files(folder: str) -> List[str]:
    names = [name for name in sorted(_listing(folder)) if name.endswith(".onnx")][:3]
    return [f"Did you mean {os.path.join(folder, name)}?" for name in names] or ["Give the path of an .onnx file."]


def _listing(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
