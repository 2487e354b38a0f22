"""Saving a rewritten model: weights inside or in one external file, checked, and never half-written."""

import hashlib
import os
from typing import Any, Dict, List, Optional

from dopt.capture.network import ELEMENT_TYPES, Network, Weight, make_tensor
from dopt.capture.save import discard, external_tensor
from dopt.errors import DoptError, in_a_line
from dopt.safetensors import CHUNK, Entry, write_error

#: protobuf ends at 2 GiB; beyond this much data the weights go into an external file whatever was asked.
INLINE_LIMIT = 1_900_000_000
#: Offsets of external data are multiples of this, as the ONNX documentation recommends for memory mapping.
PAGE = 4096
#: Weights at most this large stay inside when the model as a whole is too large.
SMALL = 1024


def write_model(network: Network, out: str, above: Optional[int], check: str, events: Any) -> List[Dict[str, Any]]:
    """Writes ``out``, and ``<out>.data`` when weights above ``above`` bytes shall be external.

    Returns path, bytes and SHA-256 of each file. The files appear under their names only when they are whole and,
    with ``check`` 'structure' accepted by onnx.checker, with 'load' by onnxruntime too. Raises DoptError OUTPUT_WRITE or REWRITE_CHECK.
    """
    total = sum(weight.array.nbytes for weight in network.weights.values())
    if above is None and total > INLINE_LIMIT:
        above = SMALL
    external = [name for name in network.weights if above is not None and _goes_outside(network.weights[name], above)]
    data_path = f"{out}.data"
    # The checked file must find its data under the final name, so both are written into a folder of their own first.
    folder = f"{out}.part"
    staged, staged_data = os.path.join(folder, os.path.basename(out)), os.path.join(folder, os.path.basename(data_path))
    try:
        os.makedirs(folder, exist_ok=True)
        entries = _write_data(network, external, staged_data, events) if external else {}
        _write(staged, _message(network, entries, os.path.basename(data_path)))
        if check != "none":
            events.progress(2, 3, "checking the model")
            _check(network, staged, out, load=check == "load")
        paths = []
        if external:
            os.replace(staged_data, data_path)
            paths.append(data_path)
        else:
            discard(data_path)
        os.replace(staged, out)
        return [_describe(path) for path in [out, *paths]]
    except OSError as error:
        raise write_error(out, error) from error
    finally:
        discard(staged)
        discard(staged_data)
        try:
            os.rmdir(folder)
        except OSError:
            pass


def _goes_outside(weight: Weight, above: int) -> bool:
    return ELEMENT_TYPES[weight.type][1] is not None and weight.array.nbytes > above


def _message(network: Network, entries: Dict[str, Entry], location: str) -> bytes:
    from onnx import ModelProto

    model = ModelProto()
    model.CopyFrom(network.model)
    for name in sorted(network.weights):
        weight = network.weights[name]
        if name in entries:
            tensor = external_tensor(name, weight.type, weight.array.shape, location, entries[name])
        else:
            tensor = make_tensor(name, weight)
        model.graph.initializer.append(tensor)
    return model.SerializeToString(deterministic=True)


def _write_data(network: Network, names: List[str], path: str, events: Any) -> Dict[str, Entry]:
    import numpy as np

    entries = {}
    with open(path, "wb") as file:
        for name in sorted(names):
            events.check_cancelled()
            file.write(b"\0" * (-file.tell() % PAGE))
            start = file.tell()
            array = network.weights[name].array
            flat = array.reshape(-1)
            step = CHUNK // array.dtype.itemsize
            for first in range(0, flat.size, step):
                piece = np.ascontiguousarray(flat[first : first + step], dtype=array.dtype.newbyteorder("<"))
                file.write(piece.view(np.uint8).data)
            entries[name] = Entry("", tuple(array.shape), start, file.tell())
        file.flush()
        os.fsync(file.fileno())
    return entries


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _check(network: Network, path: str, out: str, load: bool) -> None:
    import onnx
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    judge = "onnx.checker"
    try:
        if all(value.type.tensor_type.HasField("shape") for value in network.graph.output):
            onnx.checker.check_model(path)
        if not load:
            return
        judge = f"onnxruntime {ort.__version__}"
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - both raise errors of many classes.
        raise DoptError(
            "REWRITE_CHECK",
            f"{out}: {judge} refuses the rewritten model: {in_a_line(error, 500)}",
            kind="external",
            place=out,
            suggestions=["Please report this with the run folder attached."],
        ) from error


def _describe(path: str) -> Dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(CHUNK), b""):
            digest.update(piece)
            size += len(piece)
    return {"path": os.path.abspath(path), "bytes": size, "sha256": digest.hexdigest()}
