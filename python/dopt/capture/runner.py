"""Running ONNX files in onnxruntime exactly as they are written, on random inputs that they accept."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from dopt.errors import in_a_line

#: Sizes tried for dimensions that the model leaves open, apart from batch and channels.
TRIED_SIZES = (64, 224, 320, 16)


class Attempt(NamedTuple):
    """One run on random inputs: feeds and answers, or the reason why no inputs were accepted."""

    feeds: Optional[Dict[str, Any]]
    values: List[Any]
    problem: str


class Session:
    """An onnxruntime session without graph optimizations, so that it computes what the file (or its bytes) says."""

    def __init__(self, path: Any) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        overridable = {value.name for value in self._session.get_overridable_initializers()}
        self.inputs = [value for value in self._session.get_inputs() if value.name not in overridable]

    def run(self, outputs: Sequence[str], feeds: Dict[str, Any]) -> List[Any]:
        """Values of the outputs; feeds are cast to the types that this model declares."""
        own = {value.name: feeds[value.name].astype(numpy_type(value.type), copy=False) for value in self.inputs}
        return self._session.run(list(outputs), own)

    def run_random(self, outputs: Sequence[str], shapes: Dict[str, Any], rng: Any, batch: int) -> Attempt:
        """Runs on random inputs. ``shapes`` (by input name) go before the model's own; a size that is no number is open.

        Open first sizes become ``batch``, else 1; other open sizes are found by trial.
        """
        problem = ""
        for size in TRIED_SIZES:
            for first in dict.fromkeys((batch, 1)):
                try:
                    feeds = {
                        value.name: random_array(rng, value.type, fill(shapes.get(value.name) or value.shape, first, size))
                        for value in self.inputs
                    }
                    return Attempt(feeds, self.run(outputs, feeds), "")
                except Exception as error:  # noqa: BLE001 - sizes that do not fit together; the next ones may.
                    problem = problem or in_a_line(error, 200)
        return Attempt(None, [], problem)


def fill(shape: Optional[Sequence[Any]], batch: int, size: int) -> List[int]:
    """A shape with numbers in all its open places: batch first, 3 channels for pictures, else ``size``."""
    shape = shape or ()

    def pick(index: int) -> int:
        if index == 0:
            return batch
        return 3 if index == 1 and len(shape) == 4 else size

    return [known if isinstance(known, int) and known > 0 else pick(index) for index, known in enumerate(shape)]


def random_array(rng: Any, type_name: str, shape: Sequence[int]) -> Any:
    """Floats from a normal distribution, bytes of a picture, and 0 or 1 for other integers (token types, masks)."""
    import numpy as np

    dtype = numpy_type(type_name)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(np.float32).astype(dtype)
    if dtype.kind not in "iub":
        raise TypeError(f"an input holds {type_name}")
    return rng.integers(0, 256 if dtype == np.uint8 else 2, shape).astype(dtype)


def numpy_type(name: str) -> Any:
    """onnxruntime's name of a tensor type as a numpy dtype; object for everything that is no array of numbers."""
    import numpy as np

    element = name[len("tensor(") : -1] if name.startswith("tensor(") else "object"
    return np.dtype({"float": "float32", "double": "float64", "string": "object"}.get(element, element))
