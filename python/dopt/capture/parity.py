"""Does float.onnx compute what the original file computes? Both in onnxruntime, on the same random inputs."""

import os
import shutil
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from dopt.capture.network import Network
from dopt.capture.opset import HIGHEST
from dopt.errors import DoptError

SAMPLES = 2
#: Largest difference accepted, relative to the largest value of an output.
TOLERANCE = 1e-3
#: The same when the original computes in float16, whose rounding is 2^-11 an operation.
TOLERANCE_FLOAT16 = 3e-2
#: Sizes tried for dimensions that the model leaves open, by position from the end.
_TRIED = (64, 224, 320, 16)


class Difference(NamedTuple):
    """Comparison of one tensor: largest |difference|, largest |value|, and places where one side alone is finite."""

    absolute: float
    scale: float
    mismatched: int
    not_finite: int

    @property
    def relative(self) -> float:
        return self.absolute / self.scale if self.scale > 0 else self.absolute


def check_parity(network: Network, source: Any, model_path: str, seed: int, notes: List[str]) -> Dict[str, Any]:
    """Compares the captured file with the original (``source``: its ModelProto as read, still with external data).

    Returns the ``parity`` entry of capture's result and adds to ``notes`` when there was nothing to compare.
    Raises DoptError CAPTURE_PARITY naming the first tensor that differs.
    """
    import onnxruntime as ort

    executor = f"onnxruntime {ort.__version__} CPU, optimizations off"
    nothing = {
        "executor": executor,
        "samples": 0,
        "maxAbsoluteDifference": 0,
        "maxRelativeDifference": 0,
        "worstTensor": None,
    }
    outputs = network.output_names()
    scratch = tempfile.mkdtemp(prefix="parity-", dir=os.path.dirname(model_path))
    try:
        try:
            original = _Session(_original_path(network, source, outputs, scratch))
        except Exception as error:  # noqa: BLE001 - any refusal of the original has the same consequence.
            notes.append(f"Parity was not checked: onnxruntime {ort.__version__} cannot load the original ({_first_line(error)}).")
            return nothing
        try:
            captured = _Session(model_path)
        except Exception as error:  # noqa: BLE001
            raise _failure(network, f"onnxruntime cannot load the captured model: {_first_line(error)}") from error
        return _compare(network, original, captured, source, seed, notes, {**nothing}, scratch, model_path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _compare(
    network: Network,
    original: "_Session",
    captured: "_Session",
    source: Any,
    seed: int,
    notes: List[str],
    result: Dict[str, Any],
    scratch: str,
    model_path: str,
) -> Dict[str, Any]:
    import numpy as np

    outputs = network.output_names()
    tolerance = TOLERANCE_FLOAT16 if original.float16 else TOLERANCE
    not_finite = set()
    worst = -1.0
    for sample in range(SAMPLES):
        rng = np.random.default_rng(seed * SAMPLES + sample)
        feeds, expected, problem = _run_original(original, captured, rng, sample, outputs)
        if feeds is None:
            notes.append(f"Parity sample {sample} was not checked: the original does not run on random inputs ({problem}).")
            continue
        try:
            found = captured.run(outputs, feeds)
        except Exception as error:  # noqa: BLE001
            raise _failure(network, f"the captured model does not run: {_first_line(error)}") from error
        result["samples"] += 1
        for name, left, right in zip(outputs, expected, found):
            difference = compare(left, right)
            if difference.not_finite:
                not_finite.add(name)
            if difference.mismatched or difference.relative > tolerance:
                first = _first_difference(network, source, outputs, feeds, scratch, model_path, tolerance) or name
                raise _failure(
                    network,
                    f"output {name!r} differs from the original by {difference.absolute:.3g} "
                    f"(largest value {difference.scale:.3g}); the first tensor that differs is {first!r}",
                )
            result["maxAbsoluteDifference"] = max(result["maxAbsoluteDifference"], difference.absolute)
            if difference.relative > worst:
                worst = difference.relative
                result["maxRelativeDifference"], result["worstTensor"] = worst, name
    if not_finite:
        notes.append(f"Random inputs give NaN or infinite values in {', '.join(sorted(not_finite))}, in the original too.")
    return result


def compare(left: Any, right: Any) -> Difference:
    """Compares two arrays; values that are not finite must be the same on both sides."""
    import numpy as np

    left, right = np.asarray(left), np.asarray(right)
    if left.shape != right.shape:
        return Difference(0.0, 0.0, max(left.size, right.size, 1), 0)
    if left.dtype.kind not in "fiub" or left.size == 0:
        return Difference(0.0, 0.0, int(np.sum(left != right)), 0)
    left, right = left.astype(np.float64), right.astype(np.float64)
    finite = np.isfinite(left) & np.isfinite(right)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    mismatched = int(np.sum(~finite & ~same))
    absolute = float(np.max(np.abs(left - right), where=finite, initial=0.0)) if finite.any() else 0.0
    scale = float(np.max(np.abs(left), where=finite, initial=0.0))
    return Difference(absolute, scale, mismatched, int(np.sum(~finite)))


class _Session:
    """An onnxruntime session that computes exactly what the file says."""

    def __init__(self, path: str) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        overridable = {value.name for value in self._session.get_overridable_initializers()}
        self.inputs = [value for value in self._session.get_inputs() if value.name not in overridable]
        self.float16 = any("float16" in value.type for value in self.inputs)

    def run(self, outputs: Sequence[str], feeds: Dict[str, Any]) -> List[Any]:
        """Values of the outputs; feeds are cast to the type that this model declares."""
        own = {
            value.name: feeds[value.name].astype(_numpy_type(value.type), copy=False) for value in self.inputs
        }
        return self._session.run(list(outputs), own)


def _run_original(original: _Session, captured: _Session, rng: Any, sample: int, outputs: Sequence[str]) -> Any:
    """Feeds that the original accepts and what it answers: open batch sizes 1 and 2, other open sizes by trial."""
    problem = ""
    shapes = {value.name: value.shape for value in captured.inputs}
    for size in _TRIED:
        for batch in dict.fromkeys((sample + 1, 1)):
            try:
                feeds = {value.name: _random(rng, value, shapes.get(value.name, value.shape), batch, size) for value in original.inputs}
                return feeds, original.run(outputs, feeds), ""
            except Exception as error:  # noqa: BLE001 - sizes that do not fit together; the next ones may.
                problem = problem or _first_line(error)
    return None, None, problem


def _random(rng: Any, value: Any, shape: Sequence[Any], batch: int, size: int) -> Any:
    import numpy as np

    def pick(index: int, known: Any) -> int:
        if isinstance(known, int) and known > 0:
            return known
        if index == 0:
            return batch
        return 3 if index == 1 and len(shape) == 4 else size

    sizes = [pick(index, known) for index, known in enumerate(shape or [])]
    dtype = _numpy_type(value.type)
    if dtype.kind == "f":
        return rng.standard_normal(sizes).astype(np.float32).astype(dtype)
    if dtype.kind == "O":
        raise TypeError(f"input {value.name} holds {value.type}")
    # Token types and masks know 0 and 1 only; bytes are pictures.
    return rng.integers(0, 256 if dtype == np.uint8 else 2, sizes).astype(dtype)


def _numpy_type(name: str) -> Any:
    import numpy as np

    element = name[len("tensor(") : -1] if name.startswith("tensor(") else "object"
    return np.dtype({"float": "float32", "double": "float64", "string": "object"}.get(element, element))


def _original_path(network: Network, source: Any, outputs: Sequence[str], scratch: str) -> str:
    """The original file itself, or a copy that names other outputs and borrows its external data through links."""
    declared = [value.name for value in source.graph.output]
    if set(outputs) <= set(declared):
        return network.path
    from onnx import ModelProto, ValueInfoProto

    model = ModelProto()
    model.CopyFrom(source)
    del model.graph.output[:]
    model.graph.output.extend(ValueInfoProto(name=name) for name in outputs)
    folder = os.path.dirname(os.path.abspath(network.path))
    locations = {entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"}
    for location in locations:
        link = os.path.join(scratch, location)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if not os.path.lexists(link):
            os.symlink(os.path.join(folder, location), link)
    path = os.path.join(scratch, "original.onnx")
    with open(path, "wb") as file:
        file.write(model.SerializeToString())
    return path


def _first_difference(
    network: Network, source: Any, outputs: Sequence[str], feeds: Any, scratch: str, model_path: str, tolerance: float
) -> Optional[str]:
    """The first tensor, in the order of computation, that both models have and that differs."""
    import onnx

    try:
        theirs = {name for node in source.graph.node for name in node.output if name}
        common = [name for node in network.nodes for name in node.output if name in theirs]
        captured = onnx.load(model_path, load_external_data=False)
        del captured.graph.output[:]
        captured.graph.output.extend(onnx.ValueInfoProto(name=name) for name in common)
        probe = os.path.join(scratch, "captured.onnx")
        onnx.save(captured, probe)
        os.symlink(os.path.join(os.path.dirname(model_path), "weights.safetensors"), os.path.join(scratch, "weights.safetensors"))
        expected = _Session(_original_path(network, source, common, scratch)).run(common, feeds)
        found = _Session(probe).run(common, feeds)
    except Exception:  # noqa: BLE001 - this only refines a message; the failure itself is reported either way.
        return None
    for name, left, right in zip(common, expected, found):
        difference = compare(left, right)
        if difference.mismatched or difference.relative > tolerance:
            return name
    return None


def _failure(network: Network, problem: str) -> DoptError:
    return DoptError(
        "CAPTURE_PARITY",
        f"{network.path}: {problem}.",
        kind="external",
        place=network.path,
        suggestions=[
            f"Export the model with an opset from 13 to {HIGHEST}, so that no conversion is needed.",
            "Report the model: a capture must compute what the original computes.",
        ],
    )


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
