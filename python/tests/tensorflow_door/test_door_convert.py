"""What the ONNX form looks like: normalization kept, functions put together again, loops and recurrent layers."""

import os
import subprocess
import sys

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow (profile tensorflow)")
pytest.importorskip("tf2onnx", reason="needs tf2onnx (profile tensorflow)")

from doorway import captured, convert, frozen, keras_file, operators, refused, tf1_graph, write_graph  # noqa: E402
from write_back_graphs import constant  # noqa: E402

keras = tf.keras
layers = keras.layers


def keras_graph(folder, shape, *parts):
    """Operators of a converted and captured Sequential of the layers, and its graph."""
    result = convert(folder, keras_file(folder, keras.Sequential([keras.Input(shape), *parts])))
    assert result["parity"]["samples"] == 4 and result["parity"]["maxRelativeDifference"] < 1e-4
    return captured(folder, result)


def test_batch_normalization_is_kept(tmp_path):
    ops, _ = keras_graph(
        tmp_path,
        (8, 8, 3),
        layers.Conv2D(4, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(6.0),
    )
    assert ops["Conv"] == 2 and ops["BatchNormalization"] == 2
    # One Transpose from NHWC at the beginning, one back at the end.
    assert ops["Transpose"] <= 2 and not ops["Mul"] and not ops["Add"]


def named(result):
    """Name and weight of each node with a constant weight."""
    import onnx

    graph = onnx.load(result["model"]).graph
    constants = {each.name for each in graph.initializer}
    layers = [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum")]
    return [(node.name, name) for node in layers for name in node.input[:2] if name in constants]


def test_layers_and_weights_have_the_names_of_the_graph(tmp_path):
    """The converter calls a convolution after its bias, and numbers others; users know the node with the weight."""

    def variable(name, *shape):
        value = np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
        return tf.identity(tf.constant(value, name=name), name=f"{name}/read")

    def build(x):
        x = tf.nn.bias_add(tf.nn.conv2d(x, variable("conv/weights", 3, 3, 3, 4), 1, "SAME", name="conv/Conv2D"), constant(4))
        x = tf.nn.relu(x)
        x = tf.nn.depthwise_conv2d(x, variable("dw/weights", 3, 3, 4, 1), [1, 1, 1, 1], "SAME", name="dw/depthwise")
        x = tf.nn.relu(x * constant(4, seed=1, low=0.5) + constant(4, seed=2))
        x = tf.nn.conv2d_transpose(x, variable("up/weights", 2, 2, 5, 4), [1, 16, 16, 5], 2, name="up/transpose")
        x = tf.reduce_mean(x, [1, 2])
        return tf.matmul(x, variable("fc/weights", 5, 3), name="fc/MatMul") + constant(3)

    with tf.Graph().as_default() as source:
        tf.identity(build(tf.compat.v1.placeholder(tf.float32, [1, 8, 8, 3], name="x")), name="out")
    result = convert(tmp_path, write_graph(tmp_path, source.as_graph_def()))
    _, graph = captured(tmp_path, result)
    assert graph["nodes"][0]["op"] == "Transpose" and graph["nodes"][0]["outputs"] == ["x/transpose"]
    assert named(result) == [
        ("conv/Conv2D", "conv/weights"),
        ("dw/depthwise", "dw/weights"),
        ("up/transpose", "up/weights"),
        ("fc/MatMul", "fc/weights"),
    ]


def test_layers_with_the_same_weight_keep_apart(tmp_path):
    kernel = constant(3, 3, 4, 4)

    def build(x):
        for name in ("first", "second", "third"):
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME", name=name))
        return x

    assert [name for name, _ in named(convert(tmp_path, frozen(tmp_path, build, 1, 8, 8, 4)))] == ["first", "second", "third"]


def test_gain_and_offset_of_frozen_keras_graphs_are_a_batch_normalization(tmp_path):
    """TensorFlow 2 freezes batch normalization of Keras v1 as Mul and AddV2 behind the convolution."""

    def build(x):
        x = tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME")
        x = tf.nn.relu(x * constant(4, seed=1, low=0.5) + constant(4, seed=2))
        x = tf.nn.depthwise_conv2d(x, constant(3, 3, 4, 1), [1, 1, 1, 1], "SAME")
        return tf.nn.relu(x * constant(4, seed=3, low=0.5) + constant(4, seed=4))

    ops, graph = captured(tmp_path, convert(tmp_path, frozen(tmp_path, build, 1, 8, 8, 3)))
    # The converter folds such a pair itself here and there.
    assert ops["Conv"] == 2 and ops["BatchNormalization"] >= 1
    assert not ops["Mul"] and not ops["Add"]
    producers = {name: node["op"] for node in graph["nodes"] for name in node["outputs"]}
    norms = [node for node in graph["nodes"] if node["op"] == "BatchNormalization"]
    assert all(producers[node["inputs"][0]] == "Conv" for node in norms)


def test_prelu_of_keras_and_spelled_out(tmp_path):
    def spelled(x):
        x = tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME")
        slope = constant(4, seed=1)
        return tf.nn.relu(x) + slope * (x - tf.abs(x)) * 0.5

    def negated(x):
        x = tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME")
        return tf.nn.relu(x) - constant(4, seed=1) * tf.nn.relu(-x)

    def masked(x):
        x = tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME")
        above = tf.greater(x, 0.0)
        return x * tf.cast(above, tf.float32) + constant(4, seed=1) * (x * tf.cast(tf.logical_not(above), tf.float32))

    assert keras_graph(tmp_path, (8, 8, 3), layers.Conv2D(4, 3), layers.PReLU(shared_axes=[1, 2]))[0]["PRelu"] == 1
    for build in (spelled, negated, masked):
        ops, _ = captured(tmp_path, convert(tmp_path, frozen(tmp_path, build, 1, 8, 8, 3)))
        assert ops["PRelu"] == 1 and not ops["Add"], build.__name__


def test_a_factor_of_a_function_stays_out_of_the_next_weight(tmp_path):
    """TensorFlow's constant folding moves the sixth of a hard-swish into the convolution behind it."""
    from onnx import load, numpy_helper

    kernel = constant(3, 3, 4, 4, seed=1)

    def build(x):
        x = tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME")
        x = x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)
        return tf.nn.conv2d(x, kernel, 1, "SAME")

    result = convert(tmp_path, frozen(tmp_path, build, 1, 8, 8, 3))
    initializers = [numpy_helper.to_array(each) for each in load(result["model"]).graph.initializer]
    expected = kernel.numpy().transpose(3, 2, 0, 1)
    assert any(each.shape == expected.shape and np.array_equal(each, expected) for each in initializers)
    assert operators(result)["Mul"] == 2


def test_a_sequence_through_dense_layers_and_attention(tmp_path):
    """Dense layers take the sequence as it is, with their bias behind them; attention is matrix products."""
    x = keras.Input((6, 8))
    y = layers.Dense(12, activation="relu")(x)
    y = layers.MultiHeadAttention(2, 4)(y, y)
    path = keras_file(tmp_path, keras.Model(x, layers.Dense(3)(layers.LayerNormalization()(y))))
    ops, graph = captured(tmp_path, convert(tmp_path, path))
    # Dense, query, key, value, two of attention, its output, Dense.
    assert ops["MatMul"] == 8 and not ops["Einsum"] and not ops["Gemm"]
    constants = {each["name"] for each in graph["initializers"]}
    products = [node for node in graph["nodes"] if node["op"] == "MatMul" and node["inputs"][1] in constants]
    readers = {name: node["op"] for node in graph["nodes"] for name in node["inputs"]}
    assert [readers[node["outputs"][0]] for node in products] == 6 * ["Add"]


def test_resizes_and_transposed_convolutions(tmp_path):
    ops, _ = keras_graph(
        tmp_path,
        (8, 8, 3),
        layers.Conv2D(4, 3, padding="same", activation="relu"),
        layers.MaxPool2D(),
        layers.Conv2DTranspose(4, 3, 2, padding="same", activation="relu"),
        layers.UpSampling2D(interpolation="bilinear"),
        layers.UpSampling2D(),
        layers.Conv2D(2, 1),
    )
    assert ops["ConvTranspose"] == 1 and ops["Resize"] == 2
    assert not ops["Shape"]


@pytest.mark.parametrize("layer, op", [(layers.LSTM, "LSTM"), (layers.GRU, "GRU")])
def test_recurrent_layers_of_keras(tmp_path, layer, op):
    ops, _ = keras_graph(tmp_path, (6, 5), layer(4, return_sequences=True), layer(3), layers.Dense(2))
    assert ops[op] == 2


def test_recurrent_layers_in_both_directions(tmp_path):
    ops, _ = keras_graph(tmp_path, (6, 5), layers.Bidirectional(layers.LSTM(4)), layers.Dense(2))
    assert 1 <= ops["LSTM"] <= 2


@pytest.mark.parametrize("cell", ["GRUCell", "LSTMCell", "BasicRNNCell"])
def test_recurrent_layers_of_tensorflow_1(tmp_path, cell):
    """dynamic_rnn: a while loop of version 1."""

    def build(x):
        rnn = getattr(tf.compat.v1.nn.rnn_cell, cell)(4)
        outputs, _ = tf.compat.v1.nn.dynamic_rnn(rnn, x, dtype=tf.float32)
        return tf.linalg.matmul(outputs[:, -1], constant(4, 3))

    graph_def = tf1_graph(build, 1, 6, 5)
    assert any(node.op == "Enter" for node in graph_def.node)
    result = convert(tmp_path, write_graph(tmp_path, graph_def))
    assert result["parity"]["samples"] == 4
    ops, _ = captured(tmp_path, result)
    assert sum(ops[each] for each in ("LSTM", "GRU", "RNN", "Scan", "Loop")) == 1


def test_a_while_loop_of_tensorflow_1(tmp_path):
    def build(x):
        kernel = constant(4, 4)
        step = lambda count, value: (count + 1, tf.tanh(tf.matmul(value, kernel)))  # noqa: E731
        return tf.compat.v1.while_loop(lambda count, _: count < 3, step, [0, x])[1]

    result = convert(tmp_path, write_graph(tmp_path, tf1_graph(build, 1, 4)))
    assert result["parity"]["samples"] == 4
    assert sum(operators(result)[each] for each in ("Loop", "Scan")) == 1


def test_operators_without_a_form_in_onnx(tmp_path):
    def build(x):
        return tf.math.lgamma(tf.nn.relu(tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME", name="features")) + 1.0)

    path = frozen(tmp_path, build, 1, 8, 8, 3)
    error = refused("MODEL_OPERATORS", lambda: convert(tmp_path, path))
    assert error.kind == "user" and "Lgamma" in error.message
    # The advice is followed: what it names is a tensor that the graph can be cut at.
    (advice,) = [each for each in error.suggestions if "--outputs" in each]
    name = advice.split("--outputs ")[1]
    assert convert(tmp_path, path, outputs=[name])["parity"]["samples"] == 4


def test_a_wrong_conversion_is_told_with_the_tensor_that_differs_first(tmp_path, monkeypatch):
    """A converter that gets a slope wrong: the error names the function, not what lies behind it."""
    from dopt.doors.tensorflow import convert as converter

    def build(x):
        x = tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME", name="before")
        # Its factors are regrouped: an inner name has other values, and nothing is wrong.
        x = x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)
        x = tf.nn.leaky_relu(x, 0.2, name="wrong")
        return tf.nn.relu(tf.nn.conv2d(x, constant(3, 3, 4, 4, seed=1), 1, "SAME", name="behind"))

    path = frozen(tmp_path, build, 1, 8, 8, 3)
    save = converter.save

    def damaged(model, out):
        (node,) = [each for each in model.graph.node if each.op_type == "LeakyRelu"]
        next(each for each in node.attribute if each.name == "alpha").f = 0.3
        return save(model, out)

    monkeypatch.setattr(converter, "save", damaged)
    error = refused("PARITY_FAILED", lambda: convert(tmp_path, path))
    assert error.kind == "external" and "'wrong:0'" in error.message and "'out'" in error.message


MEMORY_IN_ANOTHER_ORDER = """
import sys
kept = [bytearray(index % 700 + 1) for index in range(int(sys.argv[3]))]
del kept[::2]
from doorway import convert
convert(sys.argv[1], sys.argv[2])
"""


def test_the_same_graph_gives_the_same_file_wherever_memory_lies(tmp_path):
    def network(x):
        for step in range(4):
            y = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, constant(3, 3, x.shape[-1], 8), 1, "SAME"), constant(8)))
            y = tf.nn.conv2d(y, constant(3, 3, 8, 8), 1 + step % 2, "SAME")
            x = tf.nn.relu(y + tf.nn.conv2d(x, constant(1, 1, x.shape[-1], 8), 1 + step % 2, "SAME"))
        flat = tf.reshape(tf.nn.avg_pool2d(x, 2, 2, "VALID"), [-1, 8 * 2 * 2])
        return tf.nn.softmax(tf.matmul(flat, constant(32, 5)))

    path = frozen(tmp_path, network, None, 16, 16, 3)
    found = set()
    for index, pieces in enumerate((0, 939, 2817)):
        folder = tmp_path / str(index)
        folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-c", MEMORY_IN_ANOTHER_ORDER, str(folder), str(path), str(pieces)]
        subprocess.run(command, check=True, env=environment, capture_output=True)
        found.add((folder / "converted" / "model.onnx").read_bytes())
    assert len(found) == 1
