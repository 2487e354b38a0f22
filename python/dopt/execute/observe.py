"""One pass over the samples: float inference with native observers on chosen tensors.

Samples are not batched. A larger batch gains little once buffers are reused, while it changes the order of floating sums
in some kernels (a matrix product of one row has its own), and with it which bin a value falls into: this way the
statistics do not depend on how samples are grouped.
"""

import json
import os
import time
from typing import Any, Dict, Sequence

from dopt.errors import DoptError
from dopt.events import Events


def observe(params: Dict[str, Any], events: Events) -> Dict[str, Any]:
    """Method ``observe`` of src/bridge/protocol.ts.

    Writes ``out``/statistics.safetensors and then statistics.json (src/config/statistics.ts), each atomically; the
    bytes depend on the model, the tensors, the samples and the bins alone. Raises what ``open_source`` and
    ``open_inner`` raise, EXECUTOR_RUN and OUTPUT_WRITE.
    """
    from dopt import native
    from dopt.data.source import open_source
    from dopt.execute.observer import session_threads
    from dopt.execute.peak import peak_bytes
    from dopt.execute.session import executor_of, open_inner

    started = time.monotonic()
    source, threads = open_source(params["source"]), params["threads"]
    executor = executor_of(params)
    core = native.load()
    core.set_threads(session_threads(threads))
    if core.backend != "native":
        events.log("warning", f"observing with numpy, which is slower: {core.detail}")
    tensors = list(dict.fromkeys(params["tensors"]))
    inners = [open_inner(params["model"], tensors, session_threads(threads), each) for each in executor.each()]
    observer = _observer(core, inners, executor, params)
    try:
        for sample in source.read_ahead(threads):
            observer.add(sample.name, sample.feeds)
            events.progress(observer.samples + len(source.skipped), len(source), sample.name)
        observer.finish()
    finally:
        observer.close()
    warnings = observer.warnings() + source.warnings
    for warning in warnings:
        events.log("warning", warning)
    statistics, histograms = write_statistics(params["out"], observer, source.skipped, warnings)
    return {
        "statistics": statistics,
        "histograms": histograms,
        "samples": observer.samples,
        "seconds": time.monotonic() - started,
        "inferenceSeconds": observer.inference_seconds,
        "observerSeconds": observer.observer_seconds,
        "peakBytes": peak_bytes(),
        "executor": _told(executor, inners[0], observer, threads, core.backend),
    }


def _observer(core: Any, inners: Sequence[Any], executor: Any, params: Dict[str, Any]) -> Any:
    from dopt.execute.observer import Observer

    if executor.kind == "torch" and inners[0].session is not None:
        from dopt.execute.device_observer import DeviceObserver

        return DeviceObserver(inners, params["bins"])
    return Observer(core, inners, params["bins"], params["threads"])


def _told(executor: Any, inner: Any, observer: Any, threads: int, backend: str) -> str:
    """What computed, in a line."""
    import onnxruntime

    place = "CPU" if executor.gpu is None else f"GPU {', '.join(str(each.gpu) for each in executor.each())}"
    several = f"{threads} thread{'s' if threads > 1 else ''}"
    if executor.kind == "torch" and inner.session is not None:
        import torch

        foreign = ", ".join(inner.session.foreign)
        beside = f" ({foreign}: onnxruntime {onnxruntime.__version__}, CPU)" if foreign else ""
        return f"PyTorch {torch.__version__}, {place}{beside}; {observer.backend} observers"
    return f"onnxruntime {onnxruntime.__version__}, {place}, all optimizations, {several}; {backend} observers"


def write_statistics(
    out: str, observer: Any, skipped: Sequence[Dict[str, str]], warnings: Sequence[str]
) -> Sequence[str]:
    """Writes both files and returns their paths, statistics.json first. Raises DoptError(OUTPUT_WRITE, environment)."""
    from dopt import safetensors

    folder = os.path.abspath(out)
    json_path, tensors_path = (os.path.join(folder, f"statistics.{ending}") for ending in ("json", "safetensors"))
    statistics = {
        "version": 1,
        "samples": observer.samples,
        "skipped": list(skipped),
        "warnings": list(warnings),
        "tensors": [
            dict({"tensor": name}, **state) for name, state in zip(observer.tensors, observer.histograms.states())
        ],
    }
    counts = observer.histograms.counts()
    try:
        os.makedirs(folder, exist_ok=True)
        safetensors.write(f"{tensors_path}.tmp", {name: counts[i] for i, name in enumerate(observer.tensors)})
        os.replace(f"{tensors_path}.tmp", tensors_path)
        with open(f"{json_path}.tmp", "w", encoding="utf-8") as file:
            json.dump(statistics, file, allow_nan=False, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{json_path}.tmp", json_path)
    except OSError as error:
        raise DoptError(
            "OUTPUT_WRITE",
            f"Cannot write the statistics into {folder}: {error.strerror or error}.",
            kind="environment",
            place=folder,
            suggestions=["Free some disk space, or name an output folder that you may write to."],
        ) from error
    return json_path, tensors_path
