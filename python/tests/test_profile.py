"""Distributions of tensors against numpy over all values at once."""

import numpy as np
import pytest
from dopt import safetensors
from dopt.events import Events
from dopt.execute import profile as module
from dopt.execute.profile import Profile, profile
from onnx import TensorProto, helper, save


def wanted(values, axis):
    """Moments of all samples together."""
    rows = np.moveaxis(np.concatenate(values).astype(np.float64), axis, 0)
    rows = rows.reshape(rows.shape[0], -1)
    finite = np.isfinite(rows)
    table = [(~np.isnan(np.where(finite, 1, np.nan))).sum(1)]
    table += [np.nanmin(np.where(finite, rows, np.nan), 1), np.nanmax(np.where(finite, rows, np.nan), 1)]
    return np.stack(table + [np.where(finite, rows, 0).__pow__(n).sum(1) for n in (1, 2, 3, 4)])


@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 7, 3), 1), ((1, 6), -1), ((2, 3, 4), -1)])
@pytest.mark.parametrize("chunk", [1 << 19, 10])
def test_moments_of_channels(monkeypatch, shape, axis, chunk):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    rng = np.random.default_rng(3)
    values = [(rng.standard_normal(shape) * 10).astype(np.float32) for _ in range(5)]
    values[2].reshape(-1)[3] = np.inf
    values[4].reshape(-1)[0] = np.nan
    found = Profile(axis)
    for value in values:
        found.add(value)
    assert np.allclose(found.moments, wanted(values, axis), rtol=1e-12)


def test_growth_is_kept_at_doublings_and_at_the_end():
    found = Profile(1)
    for index in range(11):
        found.add(np.full((1, 2, 3), index, np.float32) * np.array([1, -1], np.float32).reshape(1, 2, 1))
    assert found.growth().tolist() == [[1, 0, 0], [2, -1, 1], [4, -3, 3], [8, -7, 7], [11, -10, 10]]


def test_profiles_inputs_and_inner_tensors(tmp_path):
    nodes = [helper.make_node("Mul", ["x", "x"], ["square"]), helper.make_node("Neg", ["square"], ["y"])]
    inputs, outputs = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, 2]) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "g", [inputs], [outputs])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), str(tmp_path / "m.onnx"))
    data = np.random.default_rng(1).standard_normal((9, 3, 2)).astype(np.float32)
    np.save(str(tmp_path / "x.npy"), data)
    preprocess = {"color": "rgb", "interpolation": "bilinear", "mean": 0, "std": 1, "layout": "nchw"}
    source = {
        "path": str(tmp_path / "x.npy"),
        "preprocess": preprocess,
        "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 3, 2]}],
        "indices": [0, 1, 2, 5],
        "skipBad": False,
    }
    tensors = [{"tensor": "x", "axis": 1}, {"tensor": "square", "axis": -1}]
    params = {"model": str(tmp_path / "m.onnx"), "tensors": tensors, "source": source, "out": str(tmp_path), "threads": 1}
    answer = profile(params, Events())
    assert answer["samples"] == 4
    tables = safetensors.read(answer["profile"])
    chosen = data[[0, 1, 2, 5]]
    assert np.allclose(tables["x/moments"], wanted([chosen], 1))
    assert np.allclose(tables["square/moments"], wanted([chosen**2], 2))
    assert tables["square/growth"][:, 0].tolist() == [1, 2, 4]
