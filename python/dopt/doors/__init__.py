"""The doors: models of other frameworks come in as ONNX and go back in their own format.

Each framework is a package with one module `door` that has the functions below; everything else of it is private.
"""

import importlib
import os
from typing import Any, Callable, Dict

from dopt.events import Events

Params = Dict[str, Any]

_DOORS = {"tensorflow": "dopt.doors.tensorflow.door", "pytorch": "dopt.doors.torch.door"}


def _door(params: Params, function: str) -> Callable[..., Any]:
    if params["framework"] == "tensorflow":
        _compute_channels_first(params.get("model"))
    return getattr(importlib.import_module(_DOORS[params["framework"]]), function)


def _compute_channels_first(path: Any) -> None:
    """Lets TensorFlow run a frozen graph with channels first on a processor: version 2.8 does where it uses oneDNN, which it
    reads when it is loaded. Others are left to its own kernels."""
    if path is not None and path.lower().endswith(".pb") and os.path.isfile(path):
        with open(path, "rb") as file:
            if b"NCHW" in file.read():
                os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def convert(params: Params, events: Events) -> Params:
    """Converts the model to ONNX and compares both on random inputs; says what that took, and the import before it."""
    import time

    from dopt.execute.peak import peak_bytes

    begun = time.monotonic()
    _door(params, "import_framework")()
    started = time.monotonic()
    result = _door(params, "convert")(params, events)
    seconds = {"importSeconds": started - begun, "seconds": time.monotonic() - started}
    return {**result, **seconds, "peakBytes": peak_bytes()}


def check_parity(params: Params, events: Events) -> Params:
    """Compares the framework with the ONNX form on real samples."""
    return _door(params, "check_parity")(params, events)


def compute_features(params: Params, events: Events) -> Params:
    """Runs files through the front end of the model."""
    return _door(params, "compute_features")(params, events)


def run_framework(params: Params, events: Events) -> Params:
    """Runs models in their own framework over samples and writes their outputs: ``out``/0, ``out``/1, …"""
    shared = {name: params[name] for name in ("borders", "source")}
    runs = []
    for place, model in enumerate(params["models"]):
        out = os.path.join(params["out"], str(place))
        runs.append(_door(model, "run_framework")({**model, **shared, "out": out}, events))
    return {"runs": runs}


def write_back(params: Params, events: Events) -> Params:
    """Carries a quantization into the model's own format."""
    return _door(params, "write_back")(params, events)
