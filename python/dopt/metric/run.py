"""Methods ``checkMetric`` and ``userMetric`` of src/bridge/protocol.ts."""

import contextlib
import importlib.util
import math
import os
import sys
import time
import traceback
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from dopt.errors import DoptError
from dopt.events import Events
from dopt.metric.patience import Heard, Patience, line_in
from dopt.metric.sequences import labels_of, outputs_of, resampled

Scores = List[Dict[str, Any]]

#: Lines of a traceback that are shown.
_SHOWN_LINES = 12


def check_metric(params: Dict[str, Any], events: Events) -> Dict[str, Any]:
    """Loads the file, to be told of mistakes in it before any other work is done.

    Raises DoptError METRIC_NOT_FOUND, METRIC_IMPORT, METRIC_FAILED, METRIC_NO_EVALUATE, METRIC_HANG.
    """
    with _listening(params, events):
        _load(params["file"])
    return {}


def user_metric(params: Dict[str, Any], events: Events) -> Dict[str, Any]:
    """Calls ``evaluate(outputs, labels)`` once on all samples, then on draws of them where that is quick.

    Raises what ``check_metric`` raises, and DoptError METRIC_RESULT when the result is neither a finite number nor a
    dictionary of such.
    """
    path, model = params["file"], params["model"]
    with _listening(params, events) as patience:
        module = _load(path)
        outputs = outputs_of(params["samples"], patience.alive)
        labels = labels_of(params["labels"])

        def evaluate(indices: Optional[List[int]] = None) -> Scores:
            patience.alive()
            chosen = (outputs, labels) if indices is None else (resampled(outputs, indices), resampled(labels, indices))
            with _errors_of(path, f"evaluate() for the {model} model"):
                value = module.evaluate(*chosen)
            return _scores(value, path, model)

        started = time.monotonic()
        scores = evaluate()
        seconds = time.monotonic() - started
        replicates, reason = _replicates(evaluate, scores, len(outputs), params["resampling"])
    lower = getattr(module, "lower_is_better", False)
    for score in scores:
        falls = score["name"] in lower if isinstance(lower, (list, tuple, set)) else bool(lower)
        score["better"] = "lower" if falls else "higher"
    return {"scores": scores, "replicates": replicates, "reason": reason, "seconds": seconds}


@contextlib.contextmanager
def _listening(params: Dict[str, Any], events: Events) -> Iterator[Patience]:
    """Takes what user code prints as a sign of life; no compiled copy is left beside the user's file."""
    before = sys.stdout, sys.stderr, sys.dont_write_bytecode
    with Patience(params["patience"], events, params["file"]) as patience:
        sys.stdout, sys.stderr = Heard(before[0], patience.alive), Heard(before[1], patience.alive)
        sys.dont_write_bytecode = True
        try:
            yield patience
        finally:
            sys.stdout, sys.stderr, sys.dont_write_bytecode = before


def _load(path: str) -> Any:
    """The user's module. What lies beside the file can be imported from it."""
    if not os.path.isfile(path):
        raise DoptError(
            "METRIC_NOT_FOUND",
            f"The metric {path} does not exist.",
            place=path,
            suggestions=["Give the path of a Python file that defines evaluate(outputs, labels)."],
        )
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = "dopt_user_metric"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _errors_of(path, "the import"):
        spec.loader.exec_module(module)
    if not callable(getattr(module, "evaluate", None)):
        raise DoptError(
            "METRIC_NO_EVALUATE",
            f"{path} defines no function evaluate(outputs, labels).",
            place=path,
            suggestions=["Define evaluate(outputs, labels) at the top level; docs/metrics.md has examples."],
        )
    return module


@contextlib.contextmanager
def _errors_of(path: str, what: str) -> Iterator[None]:
    """Turns what user code raises, sys.exit included, into an error that shows where it was raised."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise _user_error(path, what, error) from error


def _user_error(path: str, what: str, error: BaseException) -> DoptError:
    frames = traceback.extract_tb(error.__traceback__)
    own = next((i for i, frame in enumerate(frames) if os.path.abspath(frame.filename) == path), len(frames))
    shown = traceback.format_list(frames[own:]) + traceback.format_exception_only(type(error), error)
    lines = "".join(shown).rstrip().splitlines()[-_SHOWN_LINES:]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        place = f"{error.filename}:{error.lineno}"
    else:
        place = line_in(path, frames) or path
    details = {"place": place, "found": "\n".join(lines)}
    if isinstance(error, ImportError) and error.name and error.name.split(".")[0] not in sys.modules:
        package = error.name.split(".")[0]
        return DoptError(
            "METRIC_IMPORT",
            f"{path} needs the Python package {package}, which this run's environment does not have.",
            suggestions=[
                "Use an interpreter that has it: DOPT_PYTHON=/path/to/python3 and --env system.",
                f"Or install it: {sys.executable} -m pip install {package}",
            ],
            **details,
        )
    reason = f"{type(error).__name__}: {error}".rstrip(": ")
    return DoptError(
        "METRIC_FAILED",
        f"The metric {path} failed in {what}: {reason}.",
        suggestions=["Mend the metric at that line; a run goes on from there with --resume."],
        **details,
    )


def _scores(value: Any, path: str, model: str) -> Scores:
    """The result of ``evaluate`` as named numbers; a single one bears the file's name."""
    named = value if isinstance(value, dict) else {os.path.splitext(os.path.basename(path))[0]: value}
    scores = [{"name": str(name), "value": _number(number)} for name, number in named.items()]
    wrong = next((named[key] for key, score in zip(named, scores) if score["value"] is None), None)
    if scores and wrong is None and all(score["value"] is not None for score in scores):
        return scores
    raise DoptError(
        "METRIC_RESULT",
        f"evaluate() in {path} did not return a finite number for the {model} model.",
        place=path,
        found=_shown(wrong if named else value),
        suggestions=["Return a float, or a dictionary of floats by name; NaN and infinity are no results."],
    )


def _number(value: Any) -> Optional[float]:
    """A finite float of a number, a numpy scalar or a tensor without dimensions; None for all else."""
    if isinstance(value, (bool, str, bytes)) or getattr(value, "shape", ()) not in ((), None):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"


def _replicates(
    evaluate: Callable[[List[int]], Scores], scores: Scores, count: int, resampling: Optional[Dict[str, Any]]
) -> Tuple[Optional[List[List[float]]], Optional[str]]:
    """The scores of draws of samples, for their spread; None with the reason where that takes too long or fails.

    The draws depend on the seed and the number of samples alone: two models see the same ones.
    """
    import numpy as np

    if resampling is None:
        return None, None
    rounds = resampling["rounds"]
    generator = np.random.RandomState(resampling["seed"])
    names = [score["name"] for score in scores]
    replicates: List[List[float]] = []
    started = time.monotonic()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        # What was printed once need not be printed for every draw.
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            for _ in range(rounds):
                try:
                    drawn = {s["name"]: s["value"] for s in evaluate(generator.randint(0, count, count).tolist())}
                    replicates.append([drawn[name] for name in names])
                except (DoptError, KeyError) as error:
                    return None, f"it fails on a draw of the samples: {error}"
                spent = time.monotonic() - started
                if spent / len(replicates) * rounds > resampling["seconds"]:
                    return None, f"a call takes {spent / len(replicates):.2f} s, {rounds} are needed"
    return replicates, None
