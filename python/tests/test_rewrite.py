"""Rewrite: each kind of edit, what happens to the rest of the model, and faults of edits and disks."""

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from models import convolutional, floats, model, node, value, write
from onnx import TensorProto

from dopt.errors import DoptError


def run(path, feeds, outputs=None):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(outputs, feeds)


def new_node(name, op, inputs, outputs, **attributes):
    return {"name": name, "op": op, "domain": "", "inputs": inputs, "outputs": outputs, "attributes": attributes}


QDQ = {
    "initializers": ["x_scale", "x_zero"],
    "inputs": [{"node": "conv1", "index": 0, "tensor": "x_dq"}],
    "addNodes": [
        new_node("x_DequantizeLinear", "DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_dq"]),
        new_node("x_QuantizeLinear", "QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_q"]),
    ],
}
SCALES = {"x_scale": np.float32(0.05), "x_zero": np.uint8(128)}
X = np.random.default_rng(1).standard_normal((2, 3, 16, 16)).astype(np.float32)


@pytest.fixture
def captured(tmp_path, capture):
    return Path(capture(write(convolutional(), tmp_path / "m.onnx"))[0]["model"])


def ops(path):
    return [n.op_type for n in onnx.load(str(path), load_external_data=False).graph.node]


def test_no_edits_keep_the_model(tmp_path, captured, rewrite):
    files = rewrite(captured, {})["files"]
    out = tmp_path / "out.onnx"
    assert files == [
        {"path": str(out), "bytes": out.stat().st_size, "sha256": hashlib.sha256(out.read_bytes()).hexdigest()}
    ]
    assert ops(out) == ops(captured)
    np.testing.assert_array_equal(run(out, {"x": X})[0], run(captured, {"x": X})[0])
    assert all(t.data_location == TensorProto.DEFAULT for t in onnx.load(str(out), load_external_data=False).graph.initializer)


def test_quantize_and_dequantize_pair(tmp_path, captured, rewrite):
    rewrite(captured, QDQ, SCALES)
    out = tmp_path / "out.onnx"
    onnx.checker.check_model(str(out), full_check=True)
    assert ops(out)[:3] == ["QuantizeLinear", "DequantizeLinear", "Conv"]
    on_grid = (np.clip(np.round(X / np.float32(0.05)), -128, 127) * np.float32(0.05)).astype(np.float32)
    np.testing.assert_allclose(run(out, {"x": X})[0], run(captured, {"x": on_grid})[0], atol=1e-6)


def test_same_edits_same_bytes(tmp_path, captured, rewrite):
    rewrite(captured, QDQ, SCALES, out="a.onnx")
    rewrite(captured, {**QDQ, "initializers": QDQ["initializers"][::-1]}, SCALES, out="b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_folding_a_batch_normalization(tmp_path, captured, rewrite):
    """Removed node, replaced weight of the same name, appended bias, renamed output; unread initializers go."""
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(captured)).graph.initializer}
    factor = weights["scale"] / np.sqrt(weights["var"] + 1e-5)
    edits = {
        "removeNodes": ["bn"],
        "initializers": ["w1", "b1_folded"],
        "inputs": [{"node": "conv1", "index": 2, "tensor": "b1_folded"}],
        "outputs": [{"node": "conv1", "index": 0, "tensor": "n1_"}],
    }
    parameters = {
        "w1": weights["w1"] * factor[:, None, None, None],
        "b1_folded": (weights["b1"] - weights["mean"]) * factor + weights["shift"],
    }
    rewrite(captured, edits, parameters)
    out = tmp_path / "out.onnx"
    assert "BatchNormalization" not in ops(out)
    names = {t.name for t in onnx.load(str(out)).graph.initializer}
    assert {"w1", "b1_folded"} <= names and names.isdisjoint({"scale", "shift", "mean", "var", "b1"})
    np.testing.assert_allclose(run(out, {"x": X})[0], run(captured, {"x": X})[0], atol=1e-6)


def test_an_input_is_appended(tmp_path, captured, rewrite):
    edits = {"initializers": ["b2"], "inputs": [{"node": "conv2", "index": 2, "tensor": "b2"}]}
    rewrite(captured, edits, {"b2": np.zeros(16, np.float32)})
    assert list(onnx.load(str(tmp_path / "out.onnx")).graph.node[4].input) == ["p1", "w2", "b2"]


def test_attributes_take_the_type_of_the_schema(tmp_path, captured, rewrite):
    edits = {
        "attributes": [
            {"node": "gemm", "attributes": {"transB": 1, "alpha": 1, "beta": 0.5}},
            {"node": "conv1", "attributes": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "auto_pad": "NOTSET"}},
        ],
        "addNodes": [new_node("leak", "LeakyRelu", ["c1"], ["leaked"], alpha=1), new_node("up", "Elu", ["leaked"], ["e"], alpha="Infinity")],  # fmt: skip
        "extraOutputs": ["e"],
    }
    rewrite(captured, edits)
    nodes = {n.name: {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute} for n in onnx.load(str(tmp_path / "out.onnx")).graph.node}  # fmt: skip
    assert nodes["gemm"] == {"alpha": 1.0, "beta": 0.5, "transB": 1} and isinstance(nodes["gemm"]["alpha"], float)
    assert nodes["conv1"]["auto_pad"] == b"NOTSET" and nodes["leak"] == {"alpha": 1.0} and nodes["up"] == {"alpha": np.inf}


def test_largest_int64_survives_javascript(tmp_path, rewrite):
    """2^63 is what JavaScript makes of the usual 'to the end' of a slice."""
    from dopt.apply.attributes import make_attributes

    made = make_attributes("Shape", "", {"end": float(2**63), "start": -1}, {"": 15})
    assert [a.i for a in made] == [(1 << 63) - 1, -1]


def test_extra_outputs_are_typed(tmp_path, captured, rewrite):
    rewrite(captured, {**QDQ, "extraOutputs": ["x_q", "c1", "y"]}, SCALES)
    outputs = onnx.load(str(tmp_path / "out.onnx")).graph.output
    assert [v.name for v in outputs] == ["y", "x_q", "c1"]
    assert [v.type.tensor_type.elem_type for v in outputs] == [1, TensorProto.UINT8, 1]
    assert [d.dim_value or d.dim_param for d in outputs[2].type.tensor_type.shape.dim] == ["N", 8, 16, 16]
    assert run(tmp_path / "out.onnx", {"x": X}, ["x_q"])[0].dtype == np.uint8


def test_external_weights(tmp_path, captured, rewrite):
    files = rewrite(captured, QDQ, SCALES, externalDataAbove=100)["files"]
    assert [os.path.basename(f["path"]) for f in files] == ["out.onnx", "out.onnx.data"]
    stored = onnx.load(str(tmp_path / "out.onnx"), load_external_data=False)
    offsets = {t.name: int(t.external_data[1].value) for t in stored.graph.initializer if t.external_data}
    assert set(offsets) == {"w1", "w2", "w3"} and all(offset % 4096 == 0 for offset in offsets.values())
    rewrite(captured, QDQ, SCALES, out="inside.onnx")
    np.testing.assert_array_equal(run(tmp_path / "out.onnx", {"x": X})[0], run(tmp_path / "inside.onnx", {"x": X})[0])
    rewrite(captured, QDQ, SCALES)
    assert not (tmp_path / "out.onnx.data").exists()


def test_more_than_protobuf_holds_goes_outside(tmp_path, captured, rewrite, monkeypatch):
    from dopt.apply import output

    monkeypatch.setattr(output, "INLINE_LIMIT", 5000)
    assert len(rewrite(captured, {})["files"]) == 2


@pytest.mark.parametrize(
    ("edits", "text"),
    [
        ({"removeNodes": ["nobody"]}, "removeNodes names node 'nobody'"),
        ({"inputs": [{"node": "nobody", "index": 0, "tensor": "x"}]}, "inputs names node 'nobody'"),
        ({"outputs": [{"node": "nobody", "index": 0, "tensor": "x"}]}, "outputs names node 'nobody'"),
        ({"attributes": [{"node": "nobody", "attributes": {}}]}, "attributes names node 'nobody'"),
        ({"inputs": [{"node": "conv1", "index": 4, "tensor": "x"}]}, "which has 3"),
        ({"outputs": [{"node": "conv1", "index": 1, "tensor": "x"}]}, "which has 1"),
        ({"initializers": ["nothing"]}, "no tensor 'nothing'"),
        ({"removeNodes": ["relu"]}, "'pool' reads 'r1', which nothing produces"),
        ({"removeNodes": ["softmax"]}, "graph output 'y'"),
        ({"addNodes": [new_node("conv1", "Relu", ["x"], ["z"])]}, "exists already"),
        ({"addNodes": [new_node("n", "Relu", ["x"], ["c1"])]}, "produced twice"),
        ({"addNodes": [new_node("n", "Relu", ["x"], ["z"], alpha=1)]}, "'alpha' of Relu does not exist"),
        ({"addNodes": [new_node("n", "Elu", ["x"], ["z"], alpha=[1])]}, "is a FLOAT"),
        ({"inputs": [{"node": "conv1", "index": 0, "tensor": "y"}]}, "loop"),
        ({"extraOutputs": ["nothing"]}, "graph output 'nothing'"),
    ],
)
def test_edits_that_do_not_fit_are_bugs(tmp_path, captured, rewrite, edits, text):
    with pytest.raises(DoptError) as error:
        rewrite(captured, edits, {"unused": np.zeros(1)})
    assert error.value.kind == "bug" and text in error.value.message
    assert not (tmp_path / "out.onnx").exists()


def test_a_refused_result_is_not_left_behind(tmp_path, captured, rewrite):
    edits = {"inputs": [{"node": "conv1", "index": 0, "tensor": "w3"}]}
    with pytest.raises(DoptError) as error:
        rewrite(captured, edits)
    assert error.value.code == "REWRITE_CHECK" and error.value.kind == "external"
    assert not [name for name in os.listdir(tmp_path) if name.startswith("out.onnx")]
    rewrite(captured, edits, check="none")


def test_an_older_result_survives_a_failure(tmp_path, captured, rewrite):
    (tmp_path / "out.onnx").write_text("before")
    with pytest.raises(DoptError):
        rewrite(captured, {"inputs": [{"node": "conv1", "index": 0, "tensor": "w3"}]})
    assert (tmp_path / "out.onnx").read_text() == "before"


def test_disk_errors(tmp_path, captured, rewrite, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DoptError) as error:
        rewrite(captured, {}, out="file/out.onnx")
    assert error.value.kind == "environment" and "file/out.onnx" in error.value.message

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DoptError) as error:
        rewrite(captured, {})
    assert error.value.code == "OUTPUT_WRITE" and "No space" in error.value.message
    assert not [name for name in os.listdir(tmp_path) if name.startswith("out.onnx")]


def test_shared_weights_and_the_opset_stay(tmp_path, capture, rewrite):
    nodes = [node("MatMul", "x w", "a", "first"), node("MatMul", "a w", "y", "second")]
    made = model(nodes, [value("x", [1, 40])], [value("y", [1, 40])], [floats("w", 40, 40)], opset=17, ir=8)
    result, _ = capture(write(made, tmp_path / "m.onnx"))
    rewrite(result["model"], {})
    out = onnx.load(str(tmp_path / "out.onnx"))
    assert len(out.graph.initializer) == 1 and out.opset_import[0].version == 17 and out.ir_version == 8


def test_real_model(tmp_path, capture, rewrite, assets):
    result, graph = capture(assets / "models/onnx/yolox-nano.onnx")
    convs = [n for n in graph["nodes"] if n["op"] == "Conv"]
    edits = {"initializers": ["s", "z"], "inputs": [], "addNodes": []}
    for index, conv in enumerate(convs):
        edits["inputs"].append({"node": conv["name"], "index": 0, "tensor": f"dq{index}"})
        edits["addNodes"] += [
            new_node(f"Q{index}", "QuantizeLinear", [conv["inputs"][0], "s", "z"], [f"q{index}"]),
            new_node(f"DQ{index}", "DequantizeLinear", [f"q{index}", "s", "z"], [f"dq{index}"]),
        ]
    rewrite(result["model"], edits, {"s": np.float32(0.1), "z": np.uint8(128)})
    assert ops(tmp_path / "out.onnx").count("QuantizeLinear") == len(convs) == 113
