"""Does the ONNX form compute what the framework computes? Both on the same inputs, number by number."""

from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence

from dopt.capture.parity import Difference, compare
from dopt.capture.runner import Session
from dopt.errors import DoptError, in_a_line

#: Largest difference accepted, relative to the largest value of an output. Frameworks sum in different orders, which costs
#: 1e-6 to 3e-5 on deep networks; a wrong operator costs far more.
TOLERANCE = 1e-3
#: Outputs whose values are all smaller than this are compared as if it were their largest: a sigmoid that is far out gives
#: 1e-9 in one framework and 0 in another. The difference accepted there is the step of float32 at 1.
SMALLEST_SCALE = 2.0**-23 / TOLERANCE

#: What roundings to float32 add up to in a network, relative to the values (see TOLERANCE).
ROUNDING = 2.0**-17

Arrays = Dict[str, Any]


class Converted:
    """The ONNX file that an exporter made of the model ``place``, in onnxruntime without optimizations.

    Opening and running it raises DoptError MODEL_CONVERT (external) where onnxruntime says that it is no model that runs.
    """

    def __init__(self, path: str, place: str) -> None:
        self._place = place
        self._session = self._told(lambda: Session(path))

    def run(self, outputs: Sequence[str], feeds: Arrays) -> List[Any]:
        """Values of ``outputs``."""
        return self._told(lambda: self._session.run(outputs, feeds))

    def _told(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - onnxruntime has a type for each of its states.
            raise DoptError(
                "MODEL_CONVERT",
                f"onnxruntime cannot run what {self._place} was converted to: {in_a_line(error, 400)}",
                kind="external",
                place=self._place,
                suggestions=["Does the model run in its own framework? If so, report it with the model."],
            ) from error


def compare_outputs(
    place: str,
    executor: str,
    framework: Callable[[Arrays], Arrays],
    onnx: Callable[[Arrays], Arrays],
    samples: Iterable[Arrays],
    first_difference: Callable[[Arrays], Optional[str]],
    advice: List[str],
) -> Dict[str, Any]:
    """Runs both forms over ``samples`` (feeds by ONNX input name) and compares outputs by ONNX name.

    Returns the parity of src/config/verification.ts. Raises DoptError PARITY_FAILED (external) when an output differs by
    more than TOLERANCE, and by more than the framework's own under rounding errors of the feeds; it names the first tensor that
    differs, which ``first_difference`` finds for the feeds.
    """
    result = {
        "executor": executor,
        "samples": 0,
        "maxAbsoluteDifference": 0.0,
        "maxRelativeDifference": 0.0,
        "worstTensor": None,
    }
    for feeds in samples:
        expected, found = framework(feeds), onnx(feeds)
        for name in expected:
            difference = compare(expected[name], found[name])
            relative = relative_difference(difference)
            if differs(difference):
                if _lies_in_rounding(framework, feeds, name, expected[name], difference):
                    continue
                raise _failed(place, name, difference, first_difference(feeds), advice)
            result["maxAbsoluteDifference"] = max(result["maxAbsoluteDifference"], difference.absolute)
            if result["worstTensor"] is None or relative > result["maxRelativeDifference"]:
                result["maxRelativeDifference"], result["worstTensor"] = relative, name
        result["samples"] += 1
    return result


def _lies_in_rounding(
    framework: Callable[[Arrays], Arrays], feeds: Arrays, name: str, expected: Any, difference: Difference
) -> bool:
    """Whether the framework alone gives an output as far away when its inputs change by as much as rounding does to inner values.

    Instance normalization of a picture without contrast divides what rounding left of it by itself: no two programs agree there.
    """
    import numpy as np

    rng = np.random.default_rng(0)

    def nudged(values: Any) -> Any:
        if values.dtype.kind != "f":
            return values
        step = ROUNDING * max(1.0, float(np.abs(values).max(initial=0)))
        return values + (step * rng.standard_normal(values.shape)).astype(values.dtype)

    moved = compare(expected, framework({key: nudged(values) for key, values in feeds.items()})[name])
    return difference.mismatched == moved.mismatched == 0 and difference.absolute <= moved.absolute


def relative_difference(difference: Difference) -> float:
    """A difference over the largest value, or over SMALLEST_SCALE where all values are smaller."""
    return difference.absolute / max(difference.scale, SMALLEST_SCALE)


def differs(difference: Difference) -> bool:
    """Whether two tensors are too far apart to be the same computation."""
    return difference.mismatched > 0 or relative_difference(difference) > TOLERANCE


def _failed(place: str, name: str, difference: Any, first: Optional[str], advice: List[str]) -> DoptError:
    uncomparable = f", {difference.mismatched} elements not comparable" if difference.mismatched else ""
    start = f" The first tensor that differs is {first!r}." if first else ""
    return DoptError(
        "PARITY_FAILED",
        f"{place}: output {name!r} of the ONNX form differs from the framework by {difference.absolute:.3g} (largest "
        f"value {difference.scale:.3g}{uncomparable}).{start}",
        kind="external",
        place=place,
        suggestions=advice,
    )
