import numpy as np
import onnx
import pytest
from sources import data_source
from onnx import TensorProto, helper, numpy_helper

from dopt import safetensors
from dopt.apply.reweight import reweight
from dopt.capture.onnx import capture
from dopt.errors import DoptError
from dopt.events import Events
from dopt.execute.candidates import compare_rewrites, error_of, without_means
from dopt.execute.channels import ChannelStatistics


@pytest.fixture
def captured(tmp_path):
    """A captured network of one matrix product with an offset: the weight is large enough to lie outside the model."""
    random = np.random.RandomState(1)
    constants = {"w": random.normal(size=(16, 8)).astype(np.float32), "b": np.arange(8, dtype=np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"], "product"), helper.make_node("Add", ["p", "b"], ["y"], "sum")]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 16]), ("y", [1, 8]))]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], initializers)
    model = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(model))
    out = tmp_path / "captured"
    params = {"model": str(model), "out": str(out), "inputShapes": {}, "outputs": None, "float16ToFloat32": False, "seed": 0}
    return capture(params, Events()), constants, tmp_path


def run(path, x):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def call(captured, folder, changes):
    folder.mkdir(exist_ok=True)
    safetensors.write(str(folder / "changes"), changes)
    paths = {key: captured[key] for key in ("model", "weights")}
    return reweight({**paths, "changes": str(folder / "changes"), "out": str(folder)}, Events())


def test_constants_change_in_both_files(captured):
    answer, constants, folder = captured
    changes = {"w": constants["w"] * 2, "b": constants["b"] - 1}
    made = call(answer, folder / "changed", changes)
    x = np.random.RandomState(2).normal(size=(1, 16)).astype(np.float32)
    assert np.allclose(run(made["model"], x), x @ changes["w"] + changes["b"], atol=1e-5)
    assert np.allclose(run(answer["model"], x), x @ constants["w"] + constants["b"], atol=1e-5)
    read = safetensors.read(made["weights"])
    assert all(np.array_equal(read[name], array) for name, array in changes.items())


def test_refuses_what_the_model_does_not_have(captured):
    answer, _, folder = captured
    for changes in ({"other": np.zeros(3, np.float32)}, {"b": np.zeros(9, np.float32)}):
        with pytest.raises(DoptError) as error:
            call(answer, folder / "changed", changes)
        assert error.value.code == "REWEIGHT"


def test_compares_rewritten_forms(captured):
    import json

    answer, constants, folder = captured
    data = folder / "data"
    data.mkdir()
    samples = np.random.RandomState(3).normal(size=(3, 1, 16)).astype(np.float32)
    for index, sample in enumerate(samples):
        np.save(str(data / f"{index}.npy"), sample)
    none = {key: [] for key in ("removeNodes", "inputs", "outputs", "attributes", "addNodes", "extraOutputs")}
    (folder / "edits.json").write_text(json.dumps({"version": 1, "initializers": ["b"], **none}))
    safetensors.write(str(folder / "shift"), {"b": constants["b"] + 1})
    safetensors.write(str(folder / "same"), {"b": constants["b"]})
    params = {
        "model": answer["model"],
        "rewrites": [{"rewrite": str(folder / "edits.json"), "parameters": str(folder / n)} for n in ("same", "shift")],
        "source": data_source(data, (1, 16)),
        "withoutMeans": False,
        "out": str(folder),
        "threads": 1,
    }
    found = compare_rewrites(params, Events())
    expected = [float(np.square(s @ constants["w"] + constants["b"]).sum()) for s in samples]
    assert [row[0] for row in found["signal"]] == pytest.approx(expected, rel=1e-5)
    assert [row[0] for row in found["noise"][0]] == pytest.approx([0, 0, 0], abs=1e-6)
    assert [row[0] for row in found["noise"][1]] == pytest.approx([8, 8, 8], rel=1e-4)
    assert not list(folder.glob("candidate*"))
    corrected = compare_rewrites({**params, "withoutMeans": True}, Events())
    assert [row[0] for row in corrected["noise"][1]] == pytest.approx([0, 0, 0], abs=1e-6)


def test_leaves_means_of_channels_out():
    random = np.random.RandomState(6)
    expected = [random.normal(size=(1, 3, 4, 4)).astype(np.float32) for _ in range(5)]
    found = [each + random.normal(0.5, 0.1, size=each.shape).astype(np.float32) for each in expected]
    noise = without_means([[error_of(a, b)] for a, b in zip(expected, found)])
    errors = np.stack([b.astype(np.float64) - a for a, b in zip(expected, found)])
    centred = errors - errors.mean(axis=(0, 1, 3, 4), keepdims=True)
    assert [row[0] for row in noise] == pytest.approx(np.square(centred).sum(axis=(1, 2, 3, 4)).tolist(), rel=1e-5)


def test_channel_statistics_over_arrays():
    a = np.random.RandomState(4).normal(2, 3, size=(1, 5, 4)).astype(np.float32)
    b = np.random.RandomState(5).normal(-1, 2, size=(1, 5, 6)).astype(np.float32)
    statistics = ChannelStatistics(1)
    statistics.add(a)
    statistics.add(b)
    rows = np.concatenate([a, b], axis=2)[0].astype(np.float64)
    expected = [rows.min(1), rows.max(1), np.square(rows).mean(1), rows.mean(1)]
    assert np.allclose(statistics.table(), expected)
