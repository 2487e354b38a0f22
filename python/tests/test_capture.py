"""Capture: what graph.json and float.onnx hold, for models of every opset and every quirk of exporters."""

import hashlib
from math import erf, pi, sqrt
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from models import branching, constant, convolutional, floats, integers, model, node, value, write
from onnx import TensorProto, helper

from dopt import safetensors
from dopt.errors import DoptError


def ops(graph):
    return [n["op"] for n in graph["nodes"]]


def run(path, feeds, outputs=None):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(outputs, feeds)


CONVOLUTIONAL = ["Conv", "BatchNormalization", "Relu", "MaxPool", "Conv", "Clip", "GlobalAveragePool", "Reshape", "Gemm"]


@pytest.mark.parametrize("opset", range(7, 20))
@pytest.mark.parametrize("ir", [3, 7])
def test_every_opset_gives_the_same_graph(tmp_path, capture, opset, ir):
    path = write(convolutional(opset, ir), tmp_path / "m.onnx")
    result, graph = capture(path)
    assert ops(graph) == [*CONVOLUTIONAL, "Softmax"]
    assert graph["opset"] == {"": min(max(opset, 13), 18)} == {"": result["opset"]["to"]}
    assert result["opset"]["from"] == opset and result["irVersion"] == ir
    # onnxruntime 1.15 has no Reshape of opset 19, so that original cannot be run.
    assert result["parity"]["samples"] == (0 if opset == 19 else 2)
    assert result["parity"]["maxRelativeDifference"] < 1e-5
    assert [v["name"] for v in graph["inputs"]] == ["x"]
    assert graph["inputs"][0]["shape"] == ["N", 3, 16, 16]
    assert graph["outputs"] == [{"name": "y", "dtype": "float32", "shape": ["N", 10]}]
    assert graph["tensors"]["flat"]["shape"] == ["N", 16]


def test_opset_20_is_lowered(tmp_path, capture):
    made = convolutional(19)
    made.opset_import[0].version, made.ir_version = 20, 9
    made.graph.node.extend([node("Gelu", "y", "z", "gelu"), node("Gelu", "z", "t", approximate="tanh")])
    made.graph.output[0].name = "t"
    _, graph = capture(write(made, tmp_path / "m.onnx"))
    assert graph["opset"] == {"": 18} and "Erf" in ops(graph) and "Tanh" in ops(graph)
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    y = run(tmp_path / "captured/float.onnx", {"x": x}, ["t"])[0]
    t = run(write(convolutional(13), tmp_path / "r.onnx"), {"x": x})[0].astype(np.float64)
    z = t * 0.5 * (1 + np.vectorize(erf)(t / sqrt(2)))
    np.testing.assert_allclose(y, 0.5 * z * (1 + np.tanh(sqrt(2 / pi) * (z + 0.044715 * z**3))), rtol=1e-5)


def test_weights_lie_in_the_safetensors_file(tmp_path, capture):
    made = convolutional()
    result, graph = capture(write(made, tmp_path / "m.onnx"))
    read = safetensors.read(result["weights"])
    original = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    stored = onnx.load(result["model"], load_external_data=False)
    assert {i["name"] for i in graph["initializers"]} == set(read) == {t.name for t in stored.graph.initializer}
    for entry in graph["initializers"]:
        array = read[entry["name"]]
        if entry["name"] in original:
            np.testing.assert_array_equal(array, original[entry["name"]])
        assert entry["shape"] == list(array.shape) and entry["dtype"] == str(array.dtype)
        assert entry.get("value") == (array.reshape(-1).tolist() if array.size <= 64 else None)
    external = {t.name for t in stored.graph.initializer if t.data_location == TensorProto.EXTERNAL}
    assert external == {name for name, array in read.items() if array.size > 64}


def test_same_model_same_bytes(tmp_path, capture):
    path = write(convolutional(), tmp_path / "m.onnx")
    first, _ = capture(path, "a")
    second, _ = capture(path, "b")
    for key in ("graph", "model", "weights"):
        assert Path(first[key]).read_bytes() == Path(second[key]).read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["float.onnx", "graph.json", "weights.safetensors"]
    assert first["source"] == {
        "path": str(path),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_external_data(tmp_path, capture):
    path = write(convolutional(), tmp_path / "m.onnx", external=True)
    plain, graph = capture(write(convolutional(), tmp_path / "plain.onnx"), "plain")
    result, other = capture(path, "external")
    assert other == graph and result["parity"] == plain["parity"]
    assert Path(result["weights"]).read_bytes() == Path(plain["weights"]).read_bytes()
    assert result["source"]["bytes"] == path.stat().st_size + (tmp_path / "m.onnx.data").stat().st_size
    before = result["source"]["sha256"]
    data = bytearray((tmp_path / "m.onnx.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "m.onnx.data").write_bytes(data)
    assert capture(path, "changed")[0]["source"]["sha256"] != before


def test_cutting_a_model_with_external_data(tmp_path, capture):
    result, graph = capture(write(convolutional(), tmp_path / "m.onnx", external=True), outputs=["c2", "p1"])
    assert [v["name"] for v in graph["outputs"]] == ["c2", "p1"]
    assert graph["outputs"][0]["shape"] == ["N", 16, 8, 8]
    assert ops(graph) == CONVOLUTIONAL[:5] and result["parity"]["samples"] == 2
    assert {"w3", "b3"}.isdisjoint(i["name"] for i in graph["initializers"])


def test_unnamed_and_repeated_names(tmp_path, capture):
    _, graph = capture(write(convolutional(named=False), tmp_path / "m.onnx"))
    assert graph["nodes"][0]["name"] == "Conv_0" and graph["nodes"][-1]["name"] == "Softmax_13"
    nodes = [node("Relu", "x", "a", "same"), node("Neg", "a", "b", "same"), node("Abs", "b", "y", "")]
    nodes.append(node("Exp", "y", "z", "Abs_2"))
    made = model(nodes, [value("x", [2])], [value("z", [2])], check=False)
    _, graph = capture(write(made, tmp_path / "n.onnx"))
    assert [n["name"] for n in graph["nodes"]] == ["same", "same_1", "Abs_2_1", "Abs_2"]


def test_constants_identities_and_dropout_are_folded(tmp_path, capture):
    nodes = [
        helper.make_node("Constant", [], ["k"], value=constant("k", np.float32([2, 3]))),
        node("Mul", "k k", "kk"),
        node("Identity", "x", "x1"),
        node("Add", "x1 kk", "s"),
        node("Dropout", "s", "d"),
        node("Relu", "d", "r"),
        node("Identity", "r", "y"),
        node("Identity", "r", "z"),
        node("Sigmoid", "r", "w"),
        node("Neg", "x", "dead"),
    ]
    made = model(nodes, [value("x", [2])], [value(n, [2]) for n in "yzw"], [floats("unused", 3)])
    _, graph = capture(write(made, tmp_path / "m.onnx"))
    assert ops(graph) == ["Add", "Relu", "Identity", "Sigmoid"]
    assert [v["name"] for v in graph["outputs"]] == ["y", "z", "w"]
    assert [(i["name"], i["value"]) for i in graph["initializers"]] == [("kk", [4.0, 9.0])]


def test_outputs_that_are_inputs_or_constants_survive(tmp_path, capture):
    nodes = [node("Identity", "x", "y"), node("Identity", "k", "z"), node("Add", "k k", "s"), node("Mul", "x s", "m")]
    made = model(nodes, [value("x", [2])], [value(n, [2]) for n in "yzsm"], [constant("k", np.float32([1, 2]))])
    result, graph = capture(write(made, tmp_path / "m.onnx"))
    assert [v["name"] for v in graph["outputs"]] == ["y", "z", "s", "m"] and result["parity"]["samples"] == 2


def test_weights_stay_shared(tmp_path, capture):
    nodes = [node("MatMul", "x w", "a"), node("MatMul", "a w", "b"), node("Identity", "w", "w1"), node("MatMul", "b w1", "y")]
    made = model(nodes, [value("x", [1, 4])], [value("y", [1, 4])], [floats("w", 4, 4)])
    _, graph = capture(write(made, tmp_path / "m.onnx"))
    assert [n["inputs"][1] for n in graph["nodes"]] == ["w"] * 3 and len(graph["initializers"]) == 1


def test_batch_normalization_is_not_folded_and_random_nodes_stay(tmp_path, capture):
    nodes = [node("RandomNormal", "", "r", shape=[4], seed=1.0), node("Mul", "x r", "y")]
    nodes[0].ClearField("input")
    result, graph = capture(write(model(nodes, [value("x", [4])], [value("y", [4])]), tmp_path / "m.onnx"))
    assert ops(graph) == ["RandomNormal", "Mul"]


def test_constant_growth_is_limited(tmp_path, capture):
    nodes = [node("ConstantOfShape", "big", "c"), node("ReduceSum", "c", "s", keepdims=0), node("Add", "x s", "y")]
    made = model(nodes, [value("x", [1])], [value("y", [1])], [integers("big", 5000, 1000)])
    _, graph = capture(write(made, tmp_path / "m.onnx"))
    assert ops(graph) == ["ConstantOfShape", "ReduceSum", "Add"]


def test_open_batch_in_resize_and_reshape_targets(tmp_path, capture):
    nodes = [
        node("Shape", "x", "s"),
        node("Slice", "s i0 i2", "head"),
        node("Concat", "head hw", "sizes", axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["u"], mode="nearest"),
        node("Gather", "s i0s", "n"),
        node("Unsqueeze", "n i0", "n1"),
        node("Concat", "n1 rest", "target", axis=0),
        node("Reshape", "u target", "y"),
    ]
    weights = [integers("i0", 0), integers("i2", 2), integers("hw", 8, 8), integers("rest", 4, 32), constant("i0s", np.int64(0))]
    made = model(nodes, [value("x", [None, 2, 4, 4])], [value("y", None)], weights, check=False)
    result, graph = capture(write(made, tmp_path / "m.onnx"))
    assert ops(graph) == ["Resize", "Reshape"]
    assert graph["outputs"][0]["shape"] == ["x_size_0", 4, 32]
    assert sorted(i["value"] for i in graph["initializers"]) == [[-1, 4, 32], [1, 1, 2, 2]]
    assert result["parity"] == {**result["parity"], "samples": 2, "maxAbsoluteDifference": 0}


def test_constant_if_is_inlined_and_open_if_lists_captures(tmp_path, capture):
    result, graph = capture(write(branching(), tmp_path / "m.onnx"))
    choice = next(n for n in graph["nodes"] if n["op"] == "If")
    assert choice["captures"] == ["x"] and choice["attributes"] == {} and result["parity"]["samples"] == 2
    made = branching()
    del made.graph.node[:2]
    made.graph.initializer.append(constant("positive", np.array(False)))
    result, graph = capture(write(made, tmp_path / "n.onnx"), "inlined")
    assert ops(graph) == ["Neg", "Abs"] and graph["outputs"][0] == {"name": "y", "dtype": "float32", "shape": [2, 3]}
    assert result["parity"]["maxAbsoluteDifference"] == 0


def test_if_is_converted_with_its_branches(tmp_path, capture):
    made = branching(11)
    then = made.graph.node[2].attribute[0].g
    then.node.extend([node("Unsqueeze", then.output[0].name, "u", axes=[0]), node("Squeeze", "u", "v", axes=[0])])
    then.output[0].name = "v"
    result, graph = capture(write(made, tmp_path / "m.onnx"))
    assert graph["opset"] == {"": 13} and result["parity"]["samples"] == 2


def test_numeric_names_survive_conversion(tmp_path, capture):
    """The converter numbers the tensors it makes; exporters number theirs too."""
    nodes = [node("Unsqueeze", "0", "3", axes=[0]), node("Clip", "3", "4", max=1.0), node("Squeeze", "4", "2", axes=[0])]
    nodes += [node("Softmax", "2", "1", axis=1)]
    made = model(nodes, [value("0", [2, 3, 4])], [value("1", [2, 3, 4])], opset=10, ir=5)
    result, graph = capture(write(made, tmp_path / "m.onnx"))
    assert graph["nodes"][0]["outputs"] == ["3"] and result["parity"]["maxAbsoluteDifference"] < 1e-6


def test_resize_with_empty_scales_and_sizes(tmp_path, capture):
    made = model(
        [node("Resize", "x roi scales sizes", "y", mode="nearest")],
        [value("x", [1, 2, 4, 4])],
        [value("y", [1, 2, 8, 8])],
        [constant("roi", np.zeros(0, np.float32)), constant("scales", np.zeros(0, np.float32)), integers("sizes", 1, 2, 8, 8)],
        opset=11,
    )
    result, graph = capture(write(made, tmp_path / "m.onnx"))
    assert graph["nodes"][0]["inputs"] == ["x", "", "", "sizes"] and result["parity"]["samples"] == 2


@pytest.mark.parametrize(
    ("op", "inputs", "weights", "attributes", "opset"),
    [
        ("Upsample", "x s", [constant("s", np.float32([1, 1, 2, 2]))], {"mode": "nearest"}, 9),
        ("Upsample", "x", [], {"mode": "nearest", "scales": [1.0, 1.0, 2.0, 2.0]}, 7),
        ("Upsample", "x s", [constant("s", np.float32([1, 1, 3, 3]))], {"mode": "linear"}, 9),
        ("Upsample", "x", [], {"mode": "linear", "scales": [1.0, 1.0, 2.0, 3.0]}, 7),
        ("Resize", "x s", [constant("s", np.float32([1, 1, 2, 2]))], {"mode": "linear"}, 10),
        ("Resize", "x s", [constant("s", np.float32([1, 1, 1.6, 1.6]))], {"mode": "nearest"}, 10),
        ("Resize", "x s", [constant("s", np.float32([1, 1, 0.6, 0.5]))], {"mode": "nearest"}, 10),
        ("Pad", "x", [], {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 0.5}, 9),
        ("Slice", "x", [], {"axes": [2], "starts": [1], "ends": [3]}, 9),
        ("Split", "x", [], {"axis": 1, "split": [1, 3]}, 9),
        ("ReduceSum", "x", [], {"axes": [2, 3]}, 9),
        ("Squeeze", "x", [], {"axes": [0]}, 9),
        ("TopK", "x", [], {"k": 2}, 9),
        ("Softmax", "x", [], {"axis": 1}, 9),
        ("Softmax", "x", [], {}, 12),
        ("LogSoftmax", "x", [], {"axis": 2}, 11),
        ("Dropout", "x", [], {"ratio": 0.3}, 7),
        ("Clip", "x", [], {"min": -0.5}, 7),
        ("PRelu", "x p", [floats("p", 4, 1, 1)], {}, 7),
        ("Gemm", "m a b", [floats("a", 6, 5), floats("b", 5)], {"alpha": 0.5}, 7),
        ("InstanceNormalization", "x g g", [floats("g", 4)], {}, 7),
        ("LeakyRelu", "x", [], {"alpha": 0.2}, 7),
        ("ConvTranspose", "x w", [floats("w", 4, 3, 2, 2)], {"strides": [2, 2]}, 7),
        ("ArgMax", "x", [], {"axis": 1}, 7),
        ("Cast", "x", [], {"to": TensorProto.INT32}, 9),
        ("DepthToSpace", "x", [], {"blocksize": 2}, 7),
        ("Expand", "x e", [integers("e", 2, 4, 4, 4)], {}, 8),
        ("CumSum", "x ax", [constant("ax", np.int64(1))], {}, 11),
    ],
)
def test_operators_that_changed_between_opsets(tmp_path, capture, op, inputs, weights, attributes, opset):
    outputs = {"Split": "y y2", "TopK": "y i"}.get(op, "y")
    inputs_of = [value("m", [2, 6])] if op == "Gemm" else [value("x", [1, 4, 4, 4])]
    made = model(
        [node(op, inputs, outputs, "n", **attributes)],
        inputs_of,
        [value("y", None, {"ArgMax": 7, "Cast": 6}.get(op, 1))],
        weights,
        opset,
        ir=4,
        check=False,
    )
    result, graph = capture(write(made, tmp_path / "m.onnx"))
    assert graph["opset"] == {"": 13}
    assert result["parity"]["samples"] == 2 and result["parity"]["maxRelativeDifference"] < 1e-6


def test_float16_needs_the_flag(tmp_path, capture):
    made = convolutional(13)
    for t in made.graph.initializer:
        if t.data_type == TensorProto.FLOAT:
            t.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(t).astype(np.float16), t.name))
    for v in [*made.graph.input, *made.graph.output]:
        v.type.tensor_type.elem_type = TensorProto.FLOAT16
    made.graph.node.insert(0, node("Cast", "image", "x", "cast", to=TensorProto.FLOAT16))
    made.graph.input[0].name = "image"
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    path = write(made, tmp_path / "m.onnx")
    with pytest.raises(DoptError) as error:
        capture(path)
    assert error.value.code == "MODEL_FLOAT16" and "--float16-to-float32" in error.value.suggestions[0]
    result, graph = capture(path, float16ToFloat32=True)
    assert ops(graph) == [*CONVOLUTIONAL, "Softmax"]
    assert {v["dtype"] for v in graph["tensors"].values()} == {"float32"}
    assert result["parity"]["samples"] == 2 and 0 < result["parity"]["maxRelativeDifference"] < 0.03


def test_input_shapes(tmp_path, capture):
    path = write(convolutional(), tmp_path / "m.onnx")
    _, graph = capture(path, inputShapes={"x": [4, 3, 16, 16]})
    assert graph["inputs"][0]["shape"] == [4, 3, 16, 16] and graph["outputs"][0]["shape"] == [4, 10]
    for shapes, code in [({"x": [1, 3, 20, 16]}, "INPUT_SHAPE"), ({"x": [1, 3]}, "INPUT_SHAPE"), ({"X": [1]}, "INPUT_UNKNOWN")]:
        with pytest.raises(DoptError) as error:
            capture(path, inputShapes=shapes)
        assert error.value.code == code and error.value.suggestions


def test_sizes_that_follow_from_an_open_batch(tmp_path, capture):
    """As Keras normalizes layers: all rows of all samples in one dimension, and vectors as long as that."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "n"),
        node("Mul", "n four", "rows"),
        node("Unsqueeze", "rows axes", "length"),
        node("Concat", "one length six", "target", axis=0),
        node("Reshape", "x target", "flat"),
        node("ReduceMean", "flat", "mean", axes=[2]),
        node("Expand", "half length", "halves"),
        node("Slice", "x starts six", "part"),
        node("Loop", "trips  n", "last many", body=counting()),
        node("Identity", "many", "counts"),
    ]
    constants = [
        *(integers(name, count) for name, count in (("one", 1), ("six", 6), ("axes", 0), ("starts", 0))),
        *(constant(name, np.array(count, np.int64)) for name, count in (("zero", 0), ("four", 4), ("trips", 3))),
        constant("half", np.float32(0.5)),
    ]
    outputs = [value(name, [None] * rank) for name, rank in (("mean", 3), ("halves", 1), ("part", 3))]
    outputs.append(value("counts", [None], TensorProto.INT64))
    path = write(model(nodes, [value("x", ["N", 4, 6])], outputs, constants), tmp_path / "m.onnx")
    _, graph = capture(path)
    shapes = {each["name"]: each["shape"] for each in graph["outputs"]}
    assert shapes["mean"] == [1, "4*N", 1] and shapes["halves"] == ["4*N"]
    assert graph["tensors"]["flat"]["shape"] == [1, "4*N", 6]
    assert shapes["counts"] == [None]
    # With two open sizes nothing is measured; the rest is as it was.
    two = write(model(nodes[:-2], [value("x", ["N", 4, "M"])], outputs[:-1], constants), tmp_path / "two.onnx")
    _, graph = capture(two, out="two")
    assert graph["tensors"]["flat"]["shape"][1] is None


def counting():
    """A loop body that gives its counter as often as it runs."""
    inputs = [value("i", [], TensorProto.INT64), value("going", [], TensorProto.BOOL), value("state", [], TensorProto.INT64)]
    outputs = [value(name, [], kind) for name, kind in (("on", TensorProto.BOOL), ("next", TensorProto.INT64), ("seen", TensorProto.INT64))]
    nodes = [node("Identity", "going", "on"), node("Add", "state i", "next"), node("Identity", "i", "seen")]
    return helper.make_graph(nodes, "body", inputs, outputs)


def test_unknown_output_has_near_matches(tmp_path, capture):
    path = write(convolutional(), tmp_path / "m.onnx")
    for wanted, near in [("logit", "'logits'"), ("gemm", "'logits'")]:
        with pytest.raises(DoptError) as error:
            capture(path, outputs=[wanted])
        assert error.value.code == "OUTPUT_UNKNOWN" and near in error.value.suggestions[0]


def test_nan_outputs_are_reported(tmp_path, capture):
    made = model([node("Sqrt", "x", "r"), node("Log", "r", "y")], [value("x", [64])], [value("y", [64])])
    result, _ = capture(write(made, tmp_path / "m.onnx"))
    assert result["parity"]["samples"] == 2 and any("NaN" in note for note in result["notes"])


def test_attributes_that_json_has_no_word_for(tmp_path, capture):
    made = model([node("Elu", "x", "a", alpha=float("inf")), node("LeakyRelu", "a", "y", alpha=float("nan"))], [value("x", [2])], [value("y", [2])])  # fmt: skip
    _, graph = capture(write(made, tmp_path / "m.onnx"))
    assert [n["attributes"]["alpha"] for n in graph["nodes"]] == ["Infinity", "NaN"]


def test_unknown_operators_are_kept_and_parity_says_why_not(tmp_path, capture):
    nodes = [node("Relu", "x", "a"), node("Magic", "a", "b", domain="my.ops", level=3), node("Neg", "b", "y")]
    made = model(nodes, [value("x", [2])], [value("y", [2])], domains=["my.ops"])
    result, graph = capture(write(made, tmp_path / "m.onnx"))
    assert graph["nodes"][1]["domain"] == "my.ops" and graph["nodes"][1]["attributes"] == {"level": 3}
    assert result["parity"]["samples"] == 0 and "cannot load the original" in result["notes"][-1]


def test_parity_catches_a_wrong_conversion(tmp_path, capture, monkeypatch):
    from dopt.capture import normalize

    before = normalize.sort_nodes

    def sabotage(network):
        before(network)
        for n in network.nodes:
            n.op_type = "Sigmoid" if n.name == "relu" else n.op_type

    monkeypatch.setattr(normalize, "sort_nodes", sabotage)
    with pytest.raises(DoptError) as error:
        capture(write(convolutional(), tmp_path / "m.onnx"))
    assert error.value.code == "CAPTURE_PARITY" and error.value.kind == "external"
    assert "first tensor that differs is 'r1'" in error.value.message


def test_real_models(tmp_path, capture, assets):
    expected = {
        "onnx/cgnet-camvid": (430, []),
        "onnx/proxyless-w0.25-r112": (179, []),
        "onnx/resnet20-cifar10": (75, ["Shape", "Gather", "Constant"]),
        "onnx/ultraface-rfb-320": (145, ["Shape", "Constant"]),
        "onnx/yolox-nano": (369, []),
    }
    for name, (count, gone) in expected.items():
        result, graph = capture(assets / "models" / f"{name}.onnx", Path(name).name)
        assert len(graph["nodes"]) == count and not set(gone) & set(ops(graph)), name
        assert result["parity"]["samples"] == 2 and result["parity"]["maxRelativeDifference"] < 1e-5, name
        assert all(t["shape"] is not None for t in graph["tensors"].values()), name


def test_faded_weights_of_layers_are_zero(tmp_path, capture):
    faded = np.array([[0.5, 1e-39, -1e-45], [0, -2e-38, np.float32(1.1754942e-38)]], np.float32)
    nodes = [node("Gemm", "x w", "a"), node("Add", "a tiny", "b"), node("MatMul", "b both", "c"), node("Div", "c both", "y")]
    weights = [constant("w", faded.T), constant("tiny", np.full(2, 1e-39, np.float32))]
    weights.append(constant("both", np.full((2, 2), 1e-39, np.float32)))
    made = model(nodes, [value("x", [2, 3])], [value("y", [2, 2])], weights)
    result, _ = capture(write(made, tmp_path / "m.onnx"))
    kept = safetensors.read(result["weights"])
    assert kept["w"].T.tolist() == [[0.5, 0, 0], [0, np.float32(-2e-38), 0]]
    # What is divided by, or added where the sum may be divided by, stays.
    assert kept["tiny"].all() and kept["both"].all()
    assert any(note.startswith("3 weights") for note in result["notes"])
