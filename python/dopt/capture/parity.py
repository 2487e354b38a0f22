"""Does float.onnx compute what the original file computes? Both in onnxruntime, on the same random inputs."""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from dopt.capture.network import LIGHT_ELEMENTS, Network, value_type
from dopt.capture.opset import HIGHEST
from dopt.capture.runner import Attempt, Session
from dopt.capture.save import WEIGHTS
from dopt.capture.tensors import element_count
from dopt.errors import DoptError, in_a_line

SAMPLES = 2
#: Largest difference accepted, relative to the largest value of an output.
TOLERANCE = 1e-3
#: The same when the original computes in float16, which rounds to 2^-11 at every operation.
TOLERANCE_FLOAT16 = 3e-2


class Difference(NamedTuple):
    """Two tensors compared: largest |difference|, largest |value|, and counts of elements.

    ``mismatched`` elements are not finite on one side and something else on the other, or lie in tensors of different
    shapes; ``not_finite`` ones are NaN or infinite on either side.
    """

    absolute: float
    scale: float
    mismatched: int
    not_finite: int

    @property
    def relative(self) -> float:
        return self.absolute / self.scale if self.scale > 0 else self.absolute

    def exceeds(self, tolerance: float) -> bool:
        return self.mismatched > 0 or self.relative > tolerance


def check_parity(
    network: Network, declared: Sequence[str], model_path: str, scratch: str, seed: int
) -> Dict[str, Any]:
    """Compares the captured file with the original, whose own graph outputs are ``declared``.

    ``scratch`` is an empty folder for small files that the caller removes.

    Returns the ``parity`` entry of capture's result and adds to ``network.notes`` what could not be compared.
    The two models are never in memory at once. Raises DoptError CAPTURE_PARITY naming the first tensor that differs.
    """
    import onnxruntime as ort

    result = {
        "executor": f"onnxruntime {ort.__version__} CPU, optimizations off",
        "samples": 0,
        "maxAbsoluteDifference": 0.0,
        "maxRelativeDifference": 0.0,
        "worstTensor": None,
    }
    attempts = _run_original(network, declared, scratch, seed)
    if attempts:
        _run_captured(network, model_path, attempts, scratch, result)
    return result


def compare(left: Any, right: Any) -> Difference:
    """Compares two arrays; elements that are not finite must be the same on both sides."""
    import numpy as np

    left, right = np.asarray(left), np.asarray(right)
    if left.shape != right.shape:
        return Difference(0.0, 0.0, max(left.size, right.size, 1), 0)
    if left.dtype.kind not in "fiub" or left.size == 0:
        return Difference(0.0, 0.0, int(np.sum(left != right)), 0)
    left, right = left.astype(np.float64), right.astype(np.float64)
    finite = np.isfinite(left) & np.isfinite(right)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        absolute = float(np.max(np.abs(left - right), where=finite, initial=0.0))
    scale = float(np.max(np.abs(left), where=finite, initial=0.0))
    return Difference(absolute, scale, int(np.sum(~finite & ~same)), int(np.sum(~finite)))


def _run_original(network: Network, declared: Sequence[str], scratch: str, seed: int) -> List[Attempt]:
    """What the original answers to each sample it accepts: batch 1, then batch 2 where the batch is open."""
    import numpy as np
    import onnxruntime as ort

    outputs = network.output_names()
    try:
        direct = set(outputs) <= set(declared) and not network.has_external_data
        original = Session(network.path if direct else _with_outputs(network, outputs, scratch))
    except Exception as error:  # noqa: BLE001 - any refusal of the original has the same consequence.
        network.notes.append(
            f"Parity was not checked: onnxruntime {ort.__version__} cannot load the original ({in_a_line(error, 200)})."
        )
        return []
    types = {value.name: value_type(value) for value in network.graph.input}
    shapes = {name: found.shape for name, found in types.items() if found is not None and found.shape is not None}
    attempts = []
    for sample in range(SAMPLES):
        rng = np.random.default_rng(seed * SAMPLES + sample)
        attempt = original.run_random(outputs, shapes, rng, batch=sample + 1)
        if attempt.feeds is None:
            network.notes.append(f"Parity was not checked: the original refuses random inputs ({attempt.problem}).")
            break
        attempts.append(attempt)
    return attempts


def _run_captured(
    network: Network, model_path: str, attempts: List[Attempt], scratch: str, result: Dict[str, Any]
) -> None:
    outputs = network.output_names()
    tolerance = TOLERANCE_FLOAT16 if network.was_float16 else TOLERANCE
    try:
        captured = Session(model_path)
        answers = [captured.run(outputs, attempt.feeds or {}) for attempt in attempts]
    except Exception as error:  # noqa: BLE001
        raise _failure(network, f"onnxruntime refuses the captured model: {in_a_line(error, 200)}") from error
    not_finite = set()
    worst = -1.0
    for attempt, found in zip(attempts, answers):
        for name, left, right in zip(outputs, attempt.values, found):
            difference = compare(left, right)
            if difference.exceeds(tolerance):
                first = _first_difference(network, attempt.feeds, model_path, scratch, tolerance) or name
                raise _failure(
                    network,
                    f"output {name!r} differs from the original by {difference.absolute:.3g} (largest value "
                    f"{difference.scale:.3g}, {difference.mismatched} elements not comparable); "
                    f"the first tensor that differs is {first!r}",
                )
            if difference.not_finite:
                not_finite.add(name)
            result["maxAbsoluteDifference"] = max(result["maxAbsoluteDifference"], difference.absolute)
            if difference.relative > worst:
                worst = difference.relative
                result["maxRelativeDifference"], result["worstTensor"] = worst, name
        result["samples"] += 1
    if not_finite:
        names = ", ".join(sorted(not_finite))
        network.notes.append(f"Random inputs give NaN or infinite values in {names}, in the original too.")


def _with_outputs(network: Network, outputs: Sequence[str], scratch: str) -> Any:
    """The original with other outputs: its bytes, or the path of a file that borrows its external data through links.

    Small external tensors move inside: onnxruntime's shape inference refuses to read axes and shapes from files.
    """
    import onnx

    model = onnx.load(network.path, load_external_data=False)
    folder = os.path.dirname(os.path.abspath(network.path))
    declared = {value.name: value for value in model.graph.output}
    values = [declared.get(name) or onnx.ValueInfoProto(name=name) for name in outputs]
    del model.graph.output[:]
    model.graph.output.extend(values)
    external = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in external:
        location = next(entry.value for entry in tensor.external_data if entry.key == "location")
        link = os.path.join(scratch, location)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if element_count(tensor) <= LIGHT_ELEMENTS:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, folder)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
        elif not os.path.lexists(link):
            os.symlink(os.path.join(folder, location), link)
    if not external:
        return model.SerializeToString()
    path = os.path.join(scratch, "original.onnx")
    onnx.save(model, path)
    return path


def _first_difference(
    network: Network, feeds: Any, model_path: str, scratch: str, tolerance: float
) -> Optional[str]:
    """The first tensor, in the order of computation, that both models have and that differs."""
    import onnx

    try:
        source = onnx.load(network.path, load_external_data=False)
        theirs = {name for node in source.graph.node for name in node.output if name}
        common = [name for node in network.nodes for name in node.output if name in theirs]
        expected = Session(_with_outputs(network, common, scratch)).run(common, feeds)
        captured = onnx.load(model_path, load_external_data=False)
        del captured.graph.output[:]
        captured.graph.output.extend(onnx.ValueInfoProto(name=name) for name in common)
        probe = os.path.join(scratch, "captured.onnx")
        onnx.save(captured, probe)
        os.symlink(os.path.join(os.path.dirname(model_path), WEIGHTS), os.path.join(scratch, WEIGHTS))
        found = Session(probe).run(common, feeds)
    except Exception:  # noqa: BLE001 - this only refines a message; the failure itself is reported either way.
        return None
    return next((name for name, l, r in zip(common, expected, found) if compare(l, r).exceeds(tolerance)), None)


def _failure(network: Network, problem: str) -> DoptError:
    return DoptError(
        "CAPTURE_PARITY",
        f"{network.path}: {problem}.",
        kind="external",
        place=network.path,
        suggestions=[
            f"Export the model with an opset from 13 to {HIGHEST}, so that no conversion is needed.",
            "Report the model: a captured model must compute what the original computes.",
        ],
    )
