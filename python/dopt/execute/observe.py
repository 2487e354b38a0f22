"""One pass over the samples: float inference with native observers on chosen tensors.

Samples run one at a time. A larger batch gains little once buffers are reused, while it changes the order of floating
sums in some kernels (a matrix product of one row has its own), and with it which bin a value falls into: this way the
statistics do not depend on how many samples there are or how they are grouped.
"""

import json
import os
import time
from typing import Any, Dict, List, Sequence

from dopt.errors import DoptError
from dopt.events import Events

_NAMED = 20


def observe(params: Dict[str, Any], events: Events) -> Dict[str, Any]:
    """Method ``observe`` of src/bridge/protocol.ts.

    Writes ``out``/statistics.safetensors and then statistics.json (src/config/statistics.ts), each atomically; the
    bytes depend on the model, the tensors, the samples and the bins alone. Raises what ``open_source`` and
    ``open_inner`` raise, EXECUTOR_RUN and OUTPUT_WRITE.
    """
    import onnxruntime

    from dopt import native
    from dopt.data.source import open_source
    from dopt.execute.peak import peak_bytes
    from dopt.execute.session import open_inner

    started = time.monotonic()
    source = open_source(params["source"])
    core = native.load()
    core.set_threads(params["threads"])
    if core.backend != "native":
        events.log("warning", f"observing with numpy, which is slower: {core.detail}")
    inner = open_inner(params["model"], list(dict.fromkeys(params["tensors"])), params["threads"])
    observer = Observer(core, inner, params["bins"])
    for sample in source.read_ahead(params["threads"]):
        observer.add(sample.name, sample.feeds)
        events.progress(observer.samples + len(source.skipped), len(source), sample.name)
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
        "executor": f"onnxruntime {onnxruntime.__version__}, CPU, all optimizations, "
        f"{params['threads']} threads; {core.backend} observers",
    }


class Observer:
    """Feeds samples to a model and its inner tensors to histograms; the tensors are those of an ``InnerSession``."""

    def __init__(self, core: Any, inner: Any, bins: int) -> None:
        from dopt.execute.bound import BoundRunner

        self.tensors: List[str] = inner.inputs + [name for name, _ in inner.outputs]
        self.histograms = core.histograms(len(self.tensors), bins)
        self.samples = 0
        self.inference_seconds = 0.0
        self.observer_seconds = 0.0
        self._inputs: List[str] = inner.inputs
        self._ignored = inner.ignored
        self._runner = BoundRunner(inner.session, inner.outputs) if inner.outputs else None
        self._nonfinite = self.histograms.nonfinite()
        self._bad: Dict[int, List[str]] = {}
        self._bad_samples: Dict[int, int] = {}

    def add(self, name: str, feeds: Dict[str, Any]) -> None:
        """Runs one sample and observes it. ``feeds``: contiguous arrays by input name."""
        from numpy import float32

        begin = time.perf_counter()
        views = [] if self._runner is None else self._runner.run(feeds, name)
        ran = time.perf_counter()
        fed = [feeds[key].astype(float32, copy=False) for key in self._inputs]
        chunks = [(index, array.ctypes.data, array.size) for index, array in enumerate(fed)]
        chunks.extend((index, view.address, view.count) for index, view in enumerate(views, len(fed)))
        self.histograms.update(chunks)
        nonfinite = self.histograms.nonfinite()
        if (nonfinite != self._nonfinite).any():
            self._note_nonfinite(name, nonfinite)
        self.observer_seconds += time.perf_counter() - ran
        self.inference_seconds += ran - begin
        self.samples += 1

    def warnings(self) -> List[str]:
        """What was odd about the tensors, one sentence each."""
        found = []
        if self._ignored:
            named = ", ".join(f"{name} ({kind})" for name, kind in self._ignored[:_NAMED])
            more = len(self._ignored) - _NAMED
            found.append(
                f"{len(self._ignored)} tensors are not floating-point and were not observed: {named}"
                + (f" and {more} more" if more > 0 else "")
            )
        for index in sorted(self._bad)[:_NAMED]:
            more = self._bad_samples[index] - len(self._bad[index])
            found.append(
                f"tensor {self.tensors[index]!r} held NaN or infinite values in {self._bad_samples[index]} of "
                f"{self.samples} samples: {', '.join(self._bad[index])}{f' and {more} more' if more else ''}"
            )
        if len(self._bad) > _NAMED:
            found.append(f"{len(self._bad) - _NAMED} more tensors held NaN or infinite values")
        return found

    def _note_nonfinite(self, name: str, nonfinite: Any) -> None:
        for index in (nonfinite != self._nonfinite).nonzero()[0].tolist():
            self._bad_samples[index] = self._bad_samples.get(index, 0) + 1
            named = self._bad.setdefault(index, [])
            if len(named) < 3:
                named.append(name)
        self._nonfinite = nonfinite


def write_statistics(
    out: str, observer: Observer, skipped: Sequence[Dict[str, str]], warnings: Sequence[str]
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
