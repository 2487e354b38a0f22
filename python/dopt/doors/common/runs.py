"""Running a model of any framework over a data source, its outputs as raw files."""

import os
import time
from typing import Any, Callable, Dict

from dopt.data.raw import write_raw
from dopt.data.source import open_source


def run_over(params: Dict[str, Any], events: Any, executor: str, run: Callable[[Dict[str, Any]], Dict[str, Any]]) -> Any:
    """Method ``runFramework``: ``run`` takes feeds by ONNX input name and gives outputs by ONNX name.

    Raises what ``open_source`` and ``write_raw`` raise.
    """
    out = os.path.abspath(params["out"])
    os.makedirs(out, exist_ok=True)
    source = open_source(params["source"])
    samples, seconds = [], 0.0
    for sample in source:
        events.check_cancelled()
        started = time.monotonic()
        outputs = run(sample.feeds)
        seconds += time.monotonic() - started
        tensors = {
            name: write_raw(os.path.join(out, f"{len(samples):05d}.{position}.raw"), array)
            for position, (name, array) in enumerate(outputs.items())
        }
        samples.append({"name": sample.name, "tensors": tensors})
        events.progress(len(samples) + len(source.skipped), len(source), sample.name)
    return {"samples": samples, "skipped": source.skipped, "executor": executor, "seconds": seconds}
