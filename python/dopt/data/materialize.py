"""Preprocessed samples as raw files, for a verifier outside Python."""

import os
from typing import Any, Dict, List

from dopt.data.raw import write_error, write_raw
from dopt.data.source import open_source
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
        raise write_error(out, error) from error
    for sample in source.read_ahead(_READERS):
        events.check_cancelled()
        tensors = {}
        for position, (name, array) in enumerate(sample.feeds.items()):
            tensors[name] = write_raw(os.path.join(out, f"{len(samples):05d}.{position}.raw"), array)
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
