"""Rounding of activations: the arithmetic of ONNX, the right readers, scales for each channel, and what stays out."""

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow (profile tensorflow)")
pytest.importorskip("tf2onnx", reason="needs tf2onnx (profile tensorflow)")

import tensorflow as tf  # noqa: E402
from write_back_graphs import SHAPE, Case, constant, run_graph, run_onnx, sequential  # noqa: E402

from dopt.doors.tensorflow.write_back.graph import Graph  # noqa: E402
from dopt.doors.tensorflow.write_back.quantizers import Grid, add_quantizer  # noqa: E402

keras = tf.keras


def qdq(values, scale, zero_point, dtype, axis=None):
    """QuantizeLinear and DequantizeLinear in onnxruntime."""
    from onnx import TensorProto, helper, numpy_helper

    shape = () if axis is None else (len(scale),)
    constants = [
        numpy_helper.from_array(np.array(scale, np.float32).reshape(shape), "s"),
        numpy_helper.from_array(np.array(zero_point, dtype).reshape(shape), "z"),
    ]
    extra = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **extra),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **extra),
    ]
    border = [helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "qdq", border[:1], border[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return run_onnx(model.SerializeToString(), {"x": values}, ["y"])[0]


def rounded(values, grid):
    """The same by the nodes that the write-back adds, with TensorFlow's usual optimizations of the graph."""
    graph_def = tf.compat.v1.GraphDef()
    node = graph_def.node.add(name="x", op="Placeholder")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    graph = Graph(graph_def)
    result = add_quantizer(graph, "x:0", grid)
    return run_graph(graph.graph_def(graph.nodes), {"x:0": values}, [result])[0]


def awkward(scale, count=200_000):
    """Values beyond both ends, in the middle between two integers, and anywhere; also both zeros and subnormal numbers."""
    rng = np.random.default_rng(5)
    middle = (rng.integers(-300, 300, count).astype(np.float32) + np.float32(0.5)) * np.float32(scale)
    special = np.array([0.0, -0.0, 1e-42, -1e-42, 3e38, -3e38, np.inf, -np.inf], np.float32)
    return np.concatenate([middle, np.float32(scale) * rng.uniform(-400, 400, count).astype(np.float32), special])


@pytest.mark.parametrize("scale", [0.0137, 1.0, 3e-5, 7.25])
@pytest.mark.parametrize("signed, zero_point", [(False, 0), (False, 117), (True, -128), (True, 9)])
def test_arithmetic_is_that_of_onnx(scale, signed, zero_point):
    values = awkward(scale)
    expected = qdq(values, [scale], [zero_point], np.int8 if signed else np.uint8)
    found = rounded(values, Grid((scale,), (zero_point,), 8, signed, None))
    np.testing.assert_array_equal(found, expected)


def test_arithmetic_with_a_scale_for_each_channel():
    scale, zero_point = (0.5, 0.013, 2.0), (0, 100, 255)
    values = awkward(0.1, 30_000)[:60_000].reshape(2, 3, 100, 100)
    expected = qdq(values, scale, zero_point, np.uint8, axis=1)
    last = np.ascontiguousarray(np.moveaxis(values, 1, -1))
    np.testing.assert_array_equal(np.moveaxis(rounded(last, Grid(scale, zero_point, 8, False, -1)), -1, 1), expected)
    np.testing.assert_array_equal(rounded(values, Grid(scale, zero_point, 8, False, -3)), expected)


def test_sixteen_bits():
    values = awkward(0.001)[:-8]
    grid = Grid((0.001,), (0,), 16, True, None)
    steps = np.clip(np.rint(values / np.float32(0.001)), -32768, 32767) * np.float32(0.001)
    np.testing.assert_array_equal(rounded(values, grid), steps.astype(np.float32))


def depthwise_only():
    return sequential(
        keras.layers.Conv2D(6, 3, activation="relu", name="first"),
        keras.layers.DepthwiseConv2D(3, name="second"),
    )


def test_scales_for_each_channel_move_to_the_last_axis(tmp_path):
    case = Case(depthwise_only(), tmp_path)
    tensor = next(each["input"] for each in case.quantized.plan["layers"] if each["groups"] > 1)
    case.quantize(tmp_path, formats={tensor: (8, False, 1)})
    assert case.quantized.numbers[f"{tensor}/scale"].size == 6
    graph, _, unmapped = case.write(True)
    assert unmapped == []
    agreeing, worst = case.compare(graph)
    assert agreeing > 0.99 and worst < 0.02


def two_readers():
    def build(x):
        shared = tf.nn.relu(tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME"))
        return tf.nn.conv2d(shared, constant(1, 1, 4, 4, seed=1), 1, "SAME", name="reads_rounded") + tf.tanh(shared)

    return build


def test_others_read_the_tensor_itself(tmp_path):
    case = Case(two_readers(), tmp_path, readers=("Conv",))
    graph, _, unmapped = case.write(True)
    assert unmapped == []
    agreeing, worst = case.compare(graph)
    assert agreeing > 0.99 and worst < 0.02
    nodes = {node.name: node for node in graph.node}
    assert nodes["reads_rounded"].input[0].endswith("fake_quant")
    assert [node.input[0].endswith("fake_quant") for node in graph.node if node.op == "Tanh"] == [False]


def test_spelled_out_functions(tmp_path):
    def build(x):
        slope = constant(4, seed=3)
        x = tf.nn.bias_add(tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME"), constant(4, seed=1))
        x = tf.nn.relu(x) - slope * tf.nn.relu(-x)
        return tf.nn.conv2d(x * tf.nn.relu6(x + 3.0) / 6.0, constant(1, 1, 4, 4, seed=2), 1, "SAME")

    case = Case(build, tmp_path, readers=("Conv", "PRelu"))
    graph, _, unmapped = case.write(True)
    assert unmapped == []
    agreeing, worst = case.compare(graph)
    assert agreeing > 0.99 and worst < 0.02


def test_what_tensorflow_does_not_compute_is_listed(tmp_path):
    """ONNX has no SquaredDifference: the difference is a tensor of the ONNX form alone."""

    def build(x):
        x = tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME")
        return tf.math.squared_difference(x, constant(*x.shape, seed=1))

    case = Case(build, tmp_path, readers=("Conv", "Mul"))
    inner = [each["tensor"] for each in case.quantized.plan["activations"] if each["tensor"] != "x:0"]
    graph, _, unmapped = case.write(True)
    listed = [each["tensor"] for each in unmapped]
    assert listed and set(listed) <= set(inner)
    assert all("no tensor of the graph has its values" in each["reason"] for each in unmapped)
    # The others are rounded all the same.
    assert any(node.name.endswith("fake_quant") for node in graph.node)
    assert run_graph(graph, {"x:0": np.ones(SHAPE, np.float32)}, ["out:0"])[0].shape == (1, 12, 10, 4)


def test_one_node_for_a_rounded_and_a_plain_reader_is_listed(tmp_path):
    """Both convolutions read one Pad, which ONNX has in each of them; only one of them reads rounded values."""

    def build(x):
        wide = tf.pad(tf.nn.relu(tf.nn.conv2d(x, constant(1, 1, 3, 3), 1, "SAME")), [[0, 0], [1, 1], [1, 1], [0, 0]])
        left = tf.nn.conv2d(wide, constant(3, 3, 3, 4), 2, "VALID", name="left")
        return left + tf.nn.conv2d(wide, constant(3, 3, 3, 4, seed=1), 2, "VALID", name="right")

    case = Case(build, tmp_path, exclude=("right",))
    assert "right" in {node.name for node in case.quantized.source.graph.node}
    _, _, unmapped = case.write(True)
    assert len(unmapped) == 1 and "reads it as it is" in unmapped[0]["reason"]
