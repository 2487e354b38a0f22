"""Fixtures for all tests: the package on the path, and capture and rewrite with their parameters filled in."""

import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))
sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="session")
def assets():
    """The folder of real models, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("DOPT_ASSETS") or ROOT.parent / "shared" / "assets")
    if not (folder / "models").is_dir():
        pytest.skip(f"needs the real models: no folder {folder} (set DOPT_ASSETS)")
    return folder


@pytest.fixture
def capture(tmp_path):
    """capture(path, **params) -> (result, graph.json as data)."""
    from dopt.capture.onnx import capture as run
    from dopt.events import Events

    def call(path, out="captured", **params):
        defaults = {"inputShapes": {}, "outputs": None, "float16ToFloat32": False, "seed": 0}
        result = run({"model": str(path), "out": str(tmp_path / out), **defaults, **params}, Events())
        json.dumps(result, allow_nan=False)
        return result, json.loads(Path(result["graph"]).read_text())

    return call


@pytest.fixture
def rewrite(tmp_path):
    """rewrite(model, edits, parameters=None, **params) -> result."""
    from dopt import safetensors
    from dopt.apply.onnx import rewrite as run
    from dopt.events import Events

    def call(path, edits, parameters=None, out="out.onnx", **params):
        empty = {key: [] for key in ("removeNodes", "initializers", "inputs", "outputs", "attributes", "addNodes")}
        (tmp_path / "rewrite.json").write_text(json.dumps({"version": 1, **empty, "extraOutputs": [], **edits}))
        if parameters is not None:
            safetensors.write(str(tmp_path / "parameters.safetensors"), parameters)
        filled = {
            "model": str(path),
            "rewrite": str(tmp_path / "rewrite.json"),
            "parameters": None if parameters is None else str(tmp_path / "parameters.safetensors"),
            "out": str(tmp_path / out),
            "externalDataAbove": None,
            "check": "load",
            **params,
        }
        return run(filled, Events())

    return call


@pytest.fixture(params=["stand-in", "cuda"])
def gpu(request, monkeypatch):
    """The index of a GPU: a real one, or the device of ``stand_in`` in its place, which needs no hardware."""
    import stand_in
    import torch

    from dopt import gpu as gpus

    if request.param == "cuda":
        reason = gpus.gpus({"frameworks": ["torch"]}, None)["frameworks"]["torch"]["reason"]
        if reason is not None:
            pytest.skip(f"needs a GPU: {reason}")
        return 0
    name = stand_in.install()
    if name is None:
        pytest.skip(f"PyTorch {torch.__version__} takes no device written in Python")
    device = {"name": "stand-in", "memory": 1 << 30, "reason": None}
    monkeypatch.setattr(gpus, "KIND", name)
    monkeypatch.setattr(gpus, "_torch", lambda: {"version": torch.__version__, "devices": [device], "reason": None})
    return 0


def pytest_collection_finish(session):
    """Makes the device that stands in for a GPU known before any test runs: PyTorch makes its threads for gradients at the first
    backward pass, one for each device that is known then."""
    if any("gpu" in getattr(item, "fixturenames", ()) for item in session.items):
        try:
            import stand_in

            stand_in.install()
        except ImportError:
            pass  # no PyTorch: the tests say so
