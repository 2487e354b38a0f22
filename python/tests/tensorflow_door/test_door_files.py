"""What a model comes in as: frozen graphs, SavedModels and Keras files; and files that are none of these."""

import hashlib
import json

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow (profile tensorflow)")
pytest.importorskip("tf2onnx", reason="needs tf2onnx (profile tensorflow)")

from doorway import convert, frozen, keras_file, normal, operators, refused, saved_model, write_graph  # noqa: E402
from write_back_graphs import constant, freeze, randomize  # noqa: E402

keras = tf.keras
layers = keras.layers


def convolution(x):
    return tf.nn.relu(tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME"))


def functional():
    x = keras.Input((8, 8, 3), name="picture")
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", use_bias=False)(x))
    return keras.Model(x, layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(layers.ReLU()(y))))


def onnx_run(result, feeds):
    from dopt.capture.runner import Session

    return Session(result["model"]).run([each["name"] for each in result["outputs"]], feeds)


def test_frozen_graph(tmp_path):
    path = frozen(tmp_path, convolution, None, 8, 8, 3)
    result = convert(tmp_path, path)
    assert result["inputs"] == [{"name": "x", "frameworkName": "x:0"}]
    assert result["outputs"] == [{"name": "out", "frameworkName": "out:0"}]
    assert result["frontEnd"] is None and result["notes"] == []
    assert result["parity"]["samples"] == 4 and result["parity"]["maxRelativeDifference"] < 1e-5
    assert result["versions"]["tensorflow"] == tf.__version__ and "tf2onnx" in result["versions"]
    # The name of the file is part of what identifies a model of several files; for one file it is ".".
    digest = hashlib.sha256(b"." + path.read_bytes()).hexdigest()
    assert result["source"] == {"path": str(path), "bytes": path.stat().st_size, "sha256": digest}


def test_an_open_batch_stays_open_and_runs_at_other_sizes(tmp_path):
    import onnx

    result = convert(tmp_path, frozen(tmp_path, convolution, None, 8, 8, 3))
    (value,) = onnx.load(result["model"]).graph.input
    assert [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] == ["batch", 8, 8, 3]
    assert onnx_run(result, {"x": normal(5, 8, 8, 3)})[0].shape == (5, 8, 8, 4)


def test_keras_functional(tmp_path):
    path = keras_file(tmp_path, functional())
    result = convert(tmp_path, path)
    assert result["inputs"] == [{"name": "picture", "frameworkName": "picture:0"}]
    # Outputs are called as their layers are.
    assert [each["name"] for each in result["outputs"]] == ["logits"]
    picture = normal(2, 8, 8, 3)
    expected = keras.models.load_model(path)(picture, training=False).numpy()
    np.testing.assert_allclose(onnx_run(result, {"picture": picture})[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", [dict(input_shape=(8, 8, 3)), dict()])
def test_keras_sequential(tmp_path, first):
    start = [] if first else [keras.Input((8, 8, 3))]
    inner = keras.Sequential([keras.Input((8, 8, 4)), layers.BatchNormalization(), layers.ReLU()])
    model = keras.Sequential([*start, layers.Conv2D(4, 3, padding="same", **first), inner, layers.Flatten(), layers.Dense(3)])
    result = convert(tmp_path, keras_file(tmp_path, model))
    assert result["parity"]["samples"] == 4
    assert operators(result)["BatchNormalization"] == 1


def test_keras_several_inputs_and_outputs(tmp_path):
    picture, facts = keras.Input((8, 8, 3), name="picture"), keras.Input((5,), name="facts")
    x = layers.Concatenate()([layers.Flatten()(layers.Conv2D(2, 3)(picture)), layers.Dense(4)(facts)])
    model = keras.Model([picture, facts], [layers.Dense(3, name="kind")(x), layers.Dense(1, name="score")(x)])
    path = keras_file(tmp_path, model)
    result = convert(tmp_path, path)
    assert [each["name"] for each in result["inputs"]] == ["picture", "facts"]
    assert [each["name"] for each in result["outputs"]] == ["kind", "score"]
    feeds = {"picture": normal(2, 8, 8, 3), "facts": normal(2, 5, seed=1)}
    expected = keras.models.load_model(path)([feeds["picture"], feeds["facts"]], training=False)
    for found, right in zip(onnx_run(result, feeds), expected):
        np.testing.assert_allclose(found, right.numpy(), rtol=1e-4, atol=1e-5)


def test_saved_model_by_its_folder_and_by_the_file_in_it(tmp_path):
    folder = saved_model(tmp_path, randomize(functional()))
    for path in (folder, folder / "saved_model.pb"):
        result = convert(tmp_path, path)
        assert [each["name"] for each in result["outputs"]] == ["logits"]
        assert result["parity"]["samples"] == 4


class Scaled(tf.Module):
    """A module of one's own with two signatures."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(constant(3, 3, 3, 4))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32, name="picture")])
    def serve(self, picture):
        features = tf.nn.conv2d(picture, self.kernel, 1, "SAME")
        return {"mean": tf.reduce_mean(features, [1, 2]), "features": features}

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32, name="picture")])
    def other(self, picture):
        return {"double": 2.0 * picture}


def test_saved_model_of_a_module_takes_the_serving_signature(tmp_path):
    module = Scaled()
    folder = saved_model(tmp_path, module, other=module.other, serving_default=module.serve)
    result = convert(tmp_path, folder)
    assert [each["name"] for each in result["outputs"]] == ["features", "mean"]
    only = convert(tmp_path, folder, outputs=["mean"])
    assert [each["name"] for each in only["outputs"]] == ["mean"]


def test_saved_model_without_signature(tmp_path):
    refused("MODEL_FORMAT", lambda: convert(tmp_path, saved_model(tmp_path, tf.Module())))


def test_functions_are_inlined(tmp_path):
    """A graph that calls functions, as TensorFlow 2 writes it before it is optimized."""
    inner = tf.function(lambda x: tf.nn.relu(tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME")))
    outer = tf.function(lambda x: tf.identity(inner(x), name="out"))
    concrete = outer.get_concrete_function(tf.TensorSpec([None, 8, 8, 3], tf.float32, name="x"))
    graph_def = concrete.graph.as_graph_def()
    assert any("PartitionedCall" in node.op for node in graph_def.node)
    result = convert(tmp_path, write_graph(tmp_path, graph_def))
    assert operators(result)["Conv"] == 1


def test_weights_alone(tmp_path):
    model = functional()
    model.save_weights(tmp_path / "net.h5")
    error = refused("MODEL_FORMAT", lambda: convert(tmp_path, tmp_path / "net.h5"))
    assert "weights" in error.message and "model.save(" in error.suggestions[0]


def test_layers_of_ones_own(tmp_path):
    class Mine(layers.Layer):
        def call(self, x):
            return x * 2.0

    x = keras.Input((4,))
    path = keras_file(tmp_path, keras.Model(x, Mine()(x)))
    error = refused("MODEL_DAMAGED", lambda: convert(tmp_path, path))
    assert "Mine" in error.message and any("SavedModel" in each for each in error.suggestions)


def test_code_in_a_keras_file_is_executed_only_where_it_is_trusted(tmp_path):
    mark = tmp_path / "executed"
    x = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda value, at=str(mark): [open(at, "w").close(), value * 2.0][1])])
    path = keras_file(tmp_path, keras.Model(x, layers.Dense(2)(inner(x))))
    mark.unlink()
    error = refused("MODEL_HOLDS_CODE", lambda: convert(tmp_path, path))
    assert "lambda" in error.message and any("--trust-model-code" in each for each in error.suggestions)
    assert not mark.exists()
    assert convert(tmp_path, path, trustCode=True)["parity"]["samples"] == 4
    assert mark.exists()


@pytest.mark.parametrize("inside", ["graph", "function"])
def test_a_graph_that_writes_files(tmp_path, inside):
    target = tmp_path / "written"

    def network(x):
        written = tf.io.write_file(str(target), "x")
        with tf.control_dependencies([written]):
            return tf.nn.relu(x)

    graph_def = freeze(network if inside == "graph" else lambda x: tf.cond(x[0, 0] > 0, lambda: network(x), lambda: x), [1, 4])
    error = refused("MODEL_REACHES_OUT", lambda: convert(tmp_path, write_graph(tmp_path, graph_def)))
    assert "WriteFile" in error.message
    assert not target.exists()


def test_what_writes_files_beside_the_network_is_not_run(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [1, 4], name="x")
        tf.raw_ops.WriteFile(filename=str(tmp_path / "written"), contents="x", name="save")
        tf.nn.relu(x, name="out")
    assert convert(tmp_path, write_graph(tmp_path, graph.as_graph_def()))["parity"]["samples"] == 4
    assert not (tmp_path / "written").exists()


def test_a_graph_with_variables(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], name="x")
        tf.identity(x @ tf.compat.v1.get_variable("w", [3, 2], use_resource=False), name="out")
    error = refused("MODEL_NOT_FROZEN", lambda: convert(tmp_path, write_graph(tmp_path, graph.as_graph_def())))
    assert "'w'" in error.message


def test_an_operator_that_this_tensorflow_does_not_have(tmp_path):
    graph_def = freeze(convolution, [1, 8, 8, 3])
    for node in graph_def.node:
        if node.op == "Relu":
            node.op = "MyOwnRelu"
    error = refused("MODEL_DAMAGED", lambda: convert(tmp_path, write_graph(tmp_path, graph_def)))
    assert "MyOwnRelu" in error.message


@pytest.mark.parametrize(
    "name, make, word",
    [
        ("net.pb", lambda folder: b"PK\x03\x04" + bytes(40), "zip"),
        ("net.pb", lambda folder: open(keras_file(folder, functional()), "rb").read(), "HDF5"),
        ("net.pb", lambda folder: (saved_model(folder, functional()) / "saved_model.pb").read_bytes(), "SavedModel"),
        ("net.pb", lambda folder: onnx_bytes(), "ONNX"),
        ("net.pb", lambda folder: b"", "no nodes"),
        ("net.pb", lambda folder: b"not a graph at all", "damaged"),
        ("net.pb", lambda folder: frozen(folder, convolution, 1, 8, 8, 3).read_bytes()[:-200], "damaged"),
        ("net.h5", lambda folder: b"not a graph at all", ""),
    ],
)
def test_other_files(tmp_path, name, make, word):
    data = make(tmp_path)
    (tmp_path / name).write_bytes(data)
    error = refused("MODEL_FORMAT" if name == "net.pb" else "MODEL_DAMAGED", lambda: convert(tmp_path, tmp_path / name))
    assert word in error.message


def onnx_bytes():
    from onnx import TensorProto, helper

    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])  # noqa: E731
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value("x")], [value("y")])
    return helper.make_model(graph).SerializeToString()


def test_a_keras_file_whose_layers_wait_for_each_other_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = keras_file(tmp_path, functional())
    with h5py.File(path, "r+") as file:
        description = json.loads(file.attrs["model_config"])
        description["config"]["layers"][2]["inbound_nodes"] = []
        file.attrs["model_config"] = json.dumps(description)
    error = refused("MODEL_DAMAGED", lambda: convert(tmp_path, path))
    assert "wait for" in error.message
