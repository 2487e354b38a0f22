"""The exported integers are the trained ones: onnxruntime and the .pb beside the forward pass, and the files beside them."""

import json
from pathlib import Path

import keras_networks as networks
import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import numpy_helper

import dopt.tf as plugin
from dopt.plugin import schema
from dopt.tf.check import compare


def converted(name, folder, **more):
    model, shapes = networks.network(name)
    quantized = plugin.prepare(model, shapes, **more)
    data = networks.samples(shapes)
    plugin.calibrate(quantized, data)
    return quantized, plugin.convert(quantized, str(folder)), data


def run_pb(path, x):
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(Path(path).read_bytes())
    inputs = [node.name for node in graph_def.node if node.op == "Placeholder"]
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        read = {entry.split(":")[0] for node in graph_def.node for entry in node.input}
        (last,) = (node.name for node in graph_def.node if node.name not in read)
        return session.run(graph.get_tensor_by_name(f"{last}:0"), {f"{inputs[0]}:0": x})


@pytest.mark.parametrize(
    ("name", "strategy"), [*((name, "Quant_INT8-8") for name in networks.NETWORKS), ("residual", "Quant_INT8-4")]
)
def test_the_exported_models_compute_with_the_integers_of_the_network(name, strategy, tmp_path):
    quantized, written, data = converted(name, tmp_path, strategies=strategy)
    found = compare(quantized, written.quantized, written.places, [(x,) for x in data])
    assert found.values > 100 and found.beyond_ties == 0 and found.different <= 2 + found.values * 1e-4
    assert found.decisions == found.samples and found.largest < 0.05
    if name == "sequences":
        # The door does not carry one-dimensional convolutions back; result.json says so.
        assert written.frozen is None and "There is no .pb" in json.loads((tmp_path / "result.json").read_text())["model"]["notes"][-1]
        return
    ours = quantized(data[0], training=False).numpy()
    assert np.abs(run_pb(written.frozen, data[0]) - ours).max() < 0.05


def test_weights_and_biases_in_the_files_are_integers_of_their_width(tmp_path):
    quantized, written, _ = converted("residual", tmp_path, strategies="Quant_INT8-4")
    model = onnx.load(written.quantized)
    weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    for path in ("conv1", "conv2", "up", "head/a"):
        stored = weights[f"{path}/weight/quantized"]
        assert stored.dtype == np.int8 and np.abs(stored).max() <= 7
    assert np.array_equal(weights["conv2/weight/quantized"], weights["conv2_1/weight/quantized"])
    assert weights["conv2/bias/quantized"].dtype == np.int32
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    names = {node.name for node in read_graph(written.frozen).node}
    assert {"residual/conv1/Conv2D", "residual/head/a/MatMul"} <= names


def read_graph(path):
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(Path(path).read_bytes())
    return graph_def


def test_the_folder_reads_like_that_of_a_run(tmp_path):
    _, written, _ = converted("mobile", tmp_path)
    schemas = Path(__file__).resolve().parents[3] / "schemas"
    files = ["quant_params", "result", "plan", "manifest"]
    for name in files:
        value = json.loads((tmp_path / f"{name}.json").read_text())
        faults = list(schema.faults(value, json.loads((schemas / f"{name}.json").read_text())))
        assert not faults, (name, faults)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["quantization"]["weights"] == 14 and set(result["files"]) >= {"mobile.int8.onnx", "mobile.int8.pb"}
    params = json.loads(Path(written.parameters).read_text())
    assert {each["node"] for each in params["tensors"] if each["kind"] == "weight"} >= {"stem", "head/depthwise"}


def test_sixteen_bits_and_old_chips(tmp_path):
    _, written, _ = converted("residual", tmp_path / "wide", strategies={"*": "Quant_INT8-8", "up": "Quant_INT16-8"})
    assert {node.domain for node in onnx.load(written.quantized).graph.node if node.op_type == "QuantizeLinear"} == {"", "com.microsoft"}
    quantized, written, data = converted("residual", tmp_path / "old", params_version="v1")
    params = {each["node"]: each for each in json.loads(Path(written.parameters).read_text())["tensors"] if each["kind"] == "weight"}
    assert params["head/a"]["granularity"] == "tensor" and params["conv1"]["granularity"] == "channel"
    assert compare(quantized, written.quantized, written.places, [(x,) for x in data]).beyond_ties == 0


def test_a_padding_that_the_converter_takes_into_the_convolution_is_compared(tmp_path):
    model = networks.lively(tf.keras.Sequential([
        tf.keras.Input([9, 9, 2], name="x"),
        tf.keras.layers.Conv2D(4, 3, name="a"),
        tf.keras.layers.ZeroPadding2D(((0, 1), (1, 2))),
        tf.keras.layers.DepthwiseConv2D(3, 2, name="b"),
    ]))  # fmt: skip
    quantized = plugin.prepare(model, "x:1,9,9,2")
    data = networks.samples("x:1,9,9,2", 3)
    plugin.calibrate(quantized, data)
    written = plugin.convert(quantized, str(tmp_path))
    found = compare(quantized, written.quantized, written.places, [(x,) for x in data])
    assert found.values == 3 * (9 * 9 * 2 + 8 * 10 * 4) and found.beyond_ties == 0


def test_several_inputs_and_outputs(tmp_path):
    a, b = tf.keras.Input([4], name="a"), tf.keras.Input([3], name="b")
    dense = tf.keras.layers.Dense
    x, y = dense(5, name="left")(a), dense(5, name="right")(b)
    quantized = plugin.prepare(tf.keras.Model([a, b], {"sum": x + y, "both": dense(2, name="last")(x * y)}), "b:1,3;a:1,4")
    rng = np.random.default_rng(0)
    data = [{"a": rng.random((2, 4), "f"), "b": rng.random((2, 3), "f")} for _ in range(3)]
    plugin.calibrate(quantized, data)
    written = plugin.convert(quantized, str(tmp_path))
    assert [each.name for each in onnx.load(written.quantized).graph.input] == ["a", "b"]
    assert len(onnx.load(written.quantized).graph.output) == 2
