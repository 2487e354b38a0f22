import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import constant, floats, integers, model, node, value
from onnx import TensorProto
from sources import data_source, error_of, picture

from dopt import native, safetensors
from dopt.errors import Cancelled
from dopt.events import Events
from dopt.execute.observe import observe
from dopt.execute.session import open_inner


class Recorder(Events):
    """Keeps what a method reports."""

    def __init__(self):
        super().__init__()
        self.sent = []

    def _send(self, event):
        self.sent.append(event)


def small_net(batch="N", size=(8, 8)):
    """Conv -> Relu -> Conv, Relu + Conv; every inner tensor has the same size."""
    nodes = [
        node("Conv", "x w1 b1", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2", "c2", pads=[1, 1, 1, 1]),
        node("Add", "r1 c2", "y"),
        node("Exp", "y", "unused_tail"),
    ]
    weights = [floats("w1", 4, 3, 3, 3), floats("b1", 4), floats("w2", 4, 4, 3, 3)]
    shape = [batch, 3, *size]
    return model(nodes, [value("x", shape)], [value("unused_tail", [batch, 4, *size])], weights)


@pytest.fixture
def run(tmp_path):
    """run(model or its path, tensors, source) -> (result, statistics by tensor, counts by tensor, whole json)."""

    def call(made, tensors, source, out="out", bins=256, threads=2, events=None):
        path = made
        if not isinstance(made, (str, Path)):
            path = tmp_path / "float.onnx"
            onnx.save(made, str(path))
        params = {
            "model": str(path),
            "tensors": tensors,
            "source": source,
            "out": str(tmp_path / out),
            "bins": bins,
            "threads": threads,
        }
        result = observe(params, events or Events())
        statistics = json.loads(Path(result["statistics"]).read_text())
        counts = {name: np.asarray(array) for name, array in safetensors.read(result["histograms"]).items()}
        return result, {entry["tensor"]: entry for entry in statistics["tensors"]}, counts, statistics

    return call


def stack(tmp_path, count=7, size=(8, 8), name="s.npy", seed=0):
    values = np.random.default_rng(seed).standard_normal((count, 3, *size)).astype(np.float32)
    np.save(tmp_path / name, values)
    return values, tmp_path / name


def every_value(made, tensor, feeds):
    """The tensor over all feeds, computed by an ordinary session with one output more."""
    import onnxruntime

    copy = onnx.ModelProto()
    copy.CopyFrom(made)
    copy.graph.output.append(onnx.ValueInfoProto(name=tensor))
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([tensor], feed)[0].reshape(-1) for feed in feeds])


def check_against(values, entry, counts):
    """A histogram entry against numpy over all values at once."""
    finite = values[np.isfinite(values)]
    assert entry["count"] == finite.size and entry["nans"] == np.isnan(values).sum()
    assert entry["zeros"] == (finite == 0).sum()
    assert entry["min"] == finite.min() and entry["max"] == finite.max()
    np.testing.assert_allclose(entry["sum"], finite.astype(np.float64).sum(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(entry["sumSquares"], (finite.astype(np.float64) ** 2).sum(), rtol=1e-6)
    grid = entry["histogram"]
    slots = np.floor(finite[finite != 0].astype(np.float64) / grid["width"]).astype(np.int64) - grid["base"]
    np.testing.assert_array_equal(counts, np.bincount(slots, minlength=grid["bins"]))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_histograms_are_those_of_all_values(tmp_path, run, threads, count):
    values, path = stack(tmp_path, count)
    made = small_net()
    tensors = ["x", "c1", "r1", "y"]
    result, entries, counts, statistics = run(made, tensors, data_source(path), threads=threads)
    assert result["samples"] == statistics["samples"] == count and list(entries) == tensors
    feeds = [{"x": row[None]} for row in values]
    for tensor in tensors:
        whole = values.reshape(-1) if tensor == "x" else every_value(made, tensor, feeds)
        check_against(whole, entries[tensor], counts[tensor])
    assert statistics["warnings"] == [] and result["peakBytes"] > 1 << 20
    assert result["inferenceSeconds"] > 0 and result["observerSeconds"] > 0


def test_bytes_do_not_depend_on_threads(tmp_path, run):
    _, path = stack(tmp_path, 9)
    runs = [run(small_net(), ["x", "c1", "r1", "y"], data_source(path), out=f"t{t}", threads=t)[0] for t in (1, 2, 4)]
    for key in ("statistics", "histograms"):
        assert len({Path(result[key]).read_bytes() for result in runs}) == 1
    assert not list(tmp_path.glob("**/*.tmp"))


@pytest.mark.parametrize("sizes", [[(8, 8)] * 3 + [(5, 9)] * 4 + [(8, 8)] * 3, [(4, 4), (5, 5), (6, 6)] * 3])
def test_sizes_that_vary(tmp_path, run, sizes):
    for index, size in enumerate(sizes):
        np.save(tmp_path / f"{index:02d}.npy", np.random.default_rng(index).standard_normal((3, *size)).astype(np.float32))
    made = small_net(size=("H", "W"))
    (tmp_path / "model").mkdir()
    onnx.save(made, str(tmp_path / "model" / "float.onnx"))
    source = data_source(tmp_path, ("N", 3, None, None))
    _, entries, counts, _ = run(tmp_path / "model" / "float.onnx", ["r1", "y"], source)
    feeds = [{"x": np.load(path)[None]} for path in sorted(tmp_path.glob("*.npy"))]
    for tensor in ("r1", "y"):
        check_against(every_value(made, tensor, feeds), entries[tensor], counts[tensor])


def test_shapes_that_depend_on_the_values(tmp_path, run):
    """NonZero gives another length for every sample, although the inputs all look alike."""
    nodes = [
        node("NonZero", "x", "indices"),
        node("Transpose", "indices", "t", perm=[1, 0]),
        node("GatherND", "x t", "picked"),
        node("Relu", "x", "r"),
    ]
    made = model(nodes, [value("x", [1, 3, 8, 8])], [value("picked", [None]), value("r", [1, 3, 8, 8])])
    values, path = stack(tmp_path, 8)
    values[np.random.default_rng(1).random(values.shape) < 0.5] = 0
    values[3] = 0
    np.save(path, values)
    _, entries, counts, statistics = run(made, ["picked", "indices", "r"], data_source(path))
    check_against(values[values != 0], entries["picked"], counts["picked"])
    check_against(np.maximum(values.reshape(-1), 0), entries["r"], counts["r"])
    assert "indices" not in entries
    assert any("indices (tensor(int64))" in warning for warning in statistics["warnings"])
    assert any("s.npy#3" in warning for warning in statistics["warnings"])


def test_nan_names_the_tensor_and_the_samples(tmp_path, run):
    nodes = [node("Log", "x", "logs"), node("Relu", "x", "r")]
    made = model(nodes, [value("x", [1, 3, 8, 8])], [value("logs", [1, 3, 8, 8]), value("r", [1, 3, 8, 8])])
    values, path = stack(tmp_path, 6)
    values = np.abs(values)
    values[2, 0, 0, 0], values[3, 0, 0, :3] = -1, 0
    np.save(path, values)
    events = Recorder()
    _, entries, _, statistics = run(made, ["logs", "r"], data_source(path), events=events)
    assert entries["logs"]["nans"] == 1 and entries["logs"]["infinities"] == 3 and entries["r"]["nans"] == 0
    wanted = "tensor 'logs' held NaN or infinite values in 2 of 6 samples: s.npy#2, s.npy#3"
    assert statistics["warnings"] == [wanted]
    assert wanted in [event.get("message") for event in events.sent]


def test_half_and_double_tensors(tmp_path, run):
    nodes = [
        node("Cast", "x", "half", to=TensorProto.FLOAT16),
        node("Cast", "x", "double", to=TensorProto.DOUBLE),
        node("Relu", "x", "r"),
    ]
    outputs = [value("half", [1, 3, 8, 8], TensorProto.FLOAT16), value("double", [1, 3, 8, 8], TensorProto.DOUBLE)]
    made = model(nodes, [value("x", [1, 3, 8, 8])], outputs)
    values, path = stack(tmp_path)
    _, entries, counts, _ = run(made, ["half", "double"], data_source(path))
    check_against(values.reshape(-1), entries["double"], counts["double"])
    check_against(values.reshape(-1).astype(np.float16).astype(np.float32), entries["half"], counts["half"])


def test_several_inputs_and_integers(tmp_path, run):
    nodes = [node("Gather", "table ids", "rows"), node("Mul", "rows scale", "y")]
    made = model(
        nodes,
        [value("ids", ["N", 5], TensorProto.INT64), value("scale", ["N", 1, 4])],
        [value("y", ["N", 5, 4])],
        [floats("table", 10, 4)],
    )
    ids, scale = np.arange(15).reshape(3, 5) % 10, np.float32([[[1, 2, 3, 4]], [[0, 1, 0, 1]], [[5, 5, 6, 6]]])
    np.savez(tmp_path / "s.npz", ids=ids, scale=scale)
    inputs = {"ids": ("int64", ("N", 5)), "scale": ("float32", ("N", 1, 4))}
    source = data_source(tmp_path / "s.npz", inputs=inputs)
    _, entries, counts, statistics = run(made, ["y", "scale", "ids"], source)
    feeds = [{"ids": ids[i : i + 1], "scale": scale[i : i + 1]} for i in range(3)]
    check_against(every_value(made, "y", feeds), entries["y"], counts["y"])
    check_against(scale.reshape(-1), entries["scale"], counts["scale"])
    assert len(statistics["warnings"]) == 1 and "ids (tensor(int64))" in statistics["warnings"][0]


def test_only_inputs_need_no_model_run(tmp_path, run):
    values, path = stack(tmp_path)
    result, entries, counts, _ = run(small_net(), ["x"], data_source(path))
    check_against(values.reshape(-1), entries["x"], counts["x"])


def test_external_data_is_read_in_place(tmp_path, run):
    made, (_, path) = small_net(), stack(tmp_path)
    plain = run(made, ["r1", "y"], data_source(path))[2]
    (tmp_path / "big").mkdir()
    onnx.save(
        made, str(tmp_path / "big" / "float.onnx"), save_as_external_data=True, location="float.data", size_threshold=0
    )
    found = run(tmp_path / "big" / "float.onnx", ["r1", "y"], data_source(path), out="out2")[2]
    np.testing.assert_array_equal(found["y"], plain["y"])
    assert sorted(os.listdir(tmp_path / "big")) == ["float.data", "float.onnx"]


def test_nodes_behind_the_last_tensor_are_not_run(tmp_path):
    onnx.save(small_net(), str(tmp_path / "float.onnx"))
    inner = open_inner(str(tmp_path / "float.onnx"), ["c1"], 1)
    assert [value.name for value in inner.session.get_outputs()] == ["c1"] and inner.outputs == [("c1", "float32")]


def test_tensors_inside_reach_of_subgraphs(tmp_path, run):
    """The branches of an If read r and a weight of the outer graph: both must survive the cutting."""
    then = onnx.helper.make_graph([node("Add", "r w", "then_y")], "then", [], [value("then_y", [1, 3, 8, 8])])
    other = onnx.helper.make_graph([node("Sub", "r w", "else_y")], "else", [], [value("else_y", [1, 3, 8, 8])])
    nodes = [
        node("Relu", "x", "r"),
        node("ReduceSum", "x", "total", keepdims=0),
        node("Greater", "total zero", "positive"),
        node("If", "positive", "y", then_branch=then, else_branch=other),
    ]
    weights = [floats("w", 1, 3, 8, 8), constant("zero", np.float32(0))]
    made = model(nodes, [value("x", [1, 3, 8, 8])], [value("y", [1, 3, 8, 8])], weights)
    values, path = stack(tmp_path)
    _, entries, counts, _ = run(made, ["y"], data_source(path))
    check_against(every_value(made, "y", [{"x": row[None]} for row in values]), entries["y"], counts["y"])


@pytest.mark.parametrize("tensor, word", [("nothing", "no tensor"), ("w1", "a constant")])
def test_tensors_that_cannot_be_observed(tmp_path, run, tensor, word):
    _, path = stack(tmp_path)
    error = error_of(lambda: run(small_net(), [tensor], data_source(path)))
    assert error.code == "OBSERVE_UNKNOWN_TENSOR" and word in error.message and error.kind == "bug"


def test_a_model_that_is_none(tmp_path, run):
    _, path = stack(tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"no model")
    assert error_of(lambda: run(tmp_path / "m.onnx", ["y"], data_source(path))).code == "MODEL_UNREADABLE"
    assert error_of(lambda: run(tmp_path / "none.onnx", ["y"], data_source(path))).code == "MODEL_UNREADABLE"


def test_an_operator_that_fails_names_the_sample(tmp_path, run):
    made = model(
        [node("Reshape", "x shape", "y")],
        [value("x", [1, 3, "H", 8])],
        [value("y", [1, 192])],
        [integers("shape", 1, 192)],
        check=False,
    )
    np.save(tmp_path / "a.npy", np.ones((3, 8, 8), np.float32))
    np.save(tmp_path / "b.npy", np.ones((3, 9, 8), np.float32))
    error = error_of(lambda: run(made, ["y"], data_source(tmp_path, (1, 3, "H", 8))))
    assert error.code == "EXECUTOR_RUN" and error.kind == "external" and "b.npy" in error.message


def test_skipped_pictures_and_progress(tmp_path, run):
    for index in range(4):
        picture(tmp_path / "data" / f"{index}.png", seed=index)
    (tmp_path / "data" / "1.png").write_bytes(b"broken")
    events = Recorder()
    result, entries, _, statistics = run(
        small_net(), ["r1"], data_source(tmp_path / "data", skip_bad=True), events=events
    )
    assert result["samples"] == 3 and [entry["file"] for entry in statistics["skipped"]] == ["1.png"]
    assert entries["r1"]["count"] == 3 * 4 * 64
    last = [event for event in events.sent if event["type"] == "progress"][-1]
    assert last["done"] == last["total"] == 4


def test_cancelling_leaves_no_result(tmp_path, run):
    _, path = stack(tmp_path)

    class Stop(Events):
        def progress(self, done, total, message=""):
            if done == 3:
                self.cancel()
            super().progress(done, total, message)

    with pytest.raises(Cancelled):
        run(small_net(), ["y"], data_source(path), events=Stop())
    assert not (tmp_path / "out").exists()


def test_output_folder_that_is_a_file(tmp_path, run):
    _, path = stack(tmp_path)
    (tmp_path / "out").write_text("")
    error = error_of(lambda: run(small_net(), ["y"], data_source(path)))
    assert error.code == "OUTPUT_WRITE" and error.kind == "environment"


def test_numpy_observers_agree(tmp_path, run, monkeypatch):
    if native.load().backend != "native":
        pytest.skip("needs the native core: npm run build:native")
    _, path = stack(tmp_path)
    fast = run(small_net(), ["x", "y"], data_source(path), out="fast")[1:3]
    monkeypatch.setattr(native, "_core", native.NumpyCore("asked for by a test"))
    events = Recorder()
    slow = run(small_net(), ["x", "y"], data_source(path), out="slow", events=events)[1:3]
    for tensor in ("x", "y"):
        np.testing.assert_array_equal(fast[1][tensor], slow[1][tensor])
        assert {**fast[0][tensor], "sum": 0, "sumSquares": 0} == {**slow[0][tensor], "sum": 0, "sumSquares": 0}
    assert any("numpy" in event.get("message", "") for event in events.sent)


_MEMORY = """
import json, sys
from dopt.events import Events
from dopt.execute.observe import observe
print(observe(json.loads(sys.argv[1]), Events())["peakBytes"])
"""


def test_memory_does_not_grow_with_samples(tmp_path):
    onnx.save(small_net(size=(64, 64)), str(tmp_path / "float.onnx"))
    stack(tmp_path, 512, (64, 64))
    peaks = []
    for count in (16, 512):
        source = data_source(tmp_path / "s.npy", (1, 3, 64, 64), indices=list(range(count)))
        params = {
            "model": str(tmp_path / "float.onnx"),
            "tensors": ["x", "c1", "r1", "y"],
            "source": source,
            "out": str(tmp_path / "out"),
            "bins": 2048,
            "threads": 2,
        }
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        done = subprocess.run(
            [sys.executable, "-c", _MEMORY, json.dumps(params)], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.1 * peaks[0]
