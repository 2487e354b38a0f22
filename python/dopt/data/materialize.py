"""Preprocessed samples as raw files, for a verifier outside Python."""

import os
from typing import Any, Dict, List

from dopt.data.source import open_source
from dopt.errors import DoptError
from dopt.events import Events

_READERS = 2


def materialize(params: Dict[str, Any], events: Events) -> Dict[str, Any]:
    """Method ``materialize`` of src/bridge/protocol.ts.

    Writes ``out``/00000.0.raw for sample 0 and input 0 and so on: little-endian, row-major, batch dimension included.
    Raises what ``open_source`` raises, and DoptError(OUTPUT_WRITE, environment).
    """
    out = os.path.abspath(params["out"])
    source = open_source(params["source"])
    samples: List[Dict[str, Any]] = []
    try:
        os.makedirs(out, exist_ok=True)
    except OSError as error:
        raise _write_error(out, error) from error
    for sample in source.read_ahead(_READERS):
        events.check_cancelled()
        tensors = {}
        for position, (name, array) in enumerate(sample.feeds.items()):
            path = os.path.join(out, f"{len(samples):05d}.{position}.raw")
            _write(path, array)
            tensors[name] = {"path": path, "dtype": array.dtype.name, "shape": list(array.shape)}
        samples.append(
            {
                "name": sample.name,
                "originalSize": None if sample.original_size is None else list(sample.original_size),
                "tensors": tensors,
            }
        )
        events.progress(len(samples) + len(source.skipped), len(source), sample.name)
    for warning in source.warnings:
        events.log("warning", warning)
    return {"samples": samples, "skipped": source.skipped}


def _write(path: str, array: Any) -> None:
    import numpy as np

    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    try:
        with open(path, "wb") as file:
            file.write(little.reshape(-1).view(np.uint8).data)
    except OSError as error:
        raise _write_error(path, error) from error


def _write_error(path: str, error: OSError) -> DoptError:
    return DoptError(
        "OUTPUT_WRITE",
        f"Cannot write {path}: {error.strerror or error}.",
        kind="environment",
        place=path,
        suggestions=["Free some disk space, or name an output folder that you may write to."],
    )
