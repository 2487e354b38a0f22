"""Where a network begins and ends: shapes, outputs, several inputs, data in TensorFlow's order of dimensions."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow (profile tensorflow)")
pytest.importorskip("tf2onnx", reason="needs tf2onnx (profile tensorflow)")

from doorway import convert, frozen, keras_file, model_params, normal, refused, write_graph  # noqa: E402
from sources import data_source, picture  # noqa: E402
from write_back_graphs import constant, freeze  # noqa: E402

from dopt.doors.tensorflow import door  # noqa: E402
from dopt.events import Events  # noqa: E402

keras = tf.keras
layers = keras.layers


def convolution(x):
    return tf.nn.relu(tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME", name="features"))


def shape_of(result, place=0):
    import onnx

    value = onnx.load(result["model"]).graph.input[place]
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_open_sizes_are_given(tmp_path):
    path = frozen(tmp_path, convolution, None, None, None, 3)
    error = refused("MODEL_INPUT_SHAPE", lambda: convert(tmp_path, path))
    assert "[?, ?, ?, 3]" in error.message
    assert error.suggestions == ['Give it: --input-shape "x:1,224,224,3"']
    for name in ("x", "x:0"):
        assert shape_of(convert(tmp_path, path, shapes={name: [1, 12, 16, 3]})) == [1, 12, 16, 3]


def test_an_unknown_rank(tmp_path):
    path = frozen(tmp_path, convolution, 1, 8, 8, 3)
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(path.read_bytes())
    for node in graph_def.node:
        if node.op == "Placeholder":
            node.attr["shape"].shape.Clear()
            node.attr["shape"].shape.unknown_rank = True
    write_graph(tmp_path, graph_def)
    assert "unknown rank" in refused("MODEL_INPUT_SHAPE", lambda: convert(tmp_path, path)).message
    assert shape_of(convert(tmp_path, path, shapes={"x": [1, 8, 8, 3]})) == [1, 8, 8, 3]


def test_the_batch_may_stay_open_or_be_fixed(tmp_path):
    path = frozen(tmp_path, convolution, None, 8, 8, 3)
    assert shape_of(convert(tmp_path, path)) == ["batch", 8, 8, 3]
    assert shape_of(convert(tmp_path, path, shapes={"x": [2, 8, 8, 3]})) == [2, 8, 8, 3]


@pytest.mark.parametrize("shape", [[1, 9, 8, 3], [1, 8, 8, 4], [8, 8, 3]])
def test_shapes_that_do_not_fit(tmp_path, shape):
    path = frozen(tmp_path, convolution, None, 8, 8, 3)
    error = refused("MODEL_INPUT_SHAPE", lambda: convert(tmp_path, path, shapes={"x": shape}))
    assert "[?, 8, 8, 3]" in error.message


def test_shapes_of_other_inputs(tmp_path):
    path = frozen(tmp_path, lambda input_image: convolution(input_image), None, 8, 8, 3)
    error = refused("MODEL_INPUT_SHAPE", lambda: convert(tmp_path, path, shapes={"y": [1, 8, 8, 3]}))
    assert "its inputs are x" in error.message and error.suggestions == ["Did you mean x?"]


def test_outputs_by_name(tmp_path):
    path = frozen(tmp_path, convolution, 1, 8, 8, 3)
    for name in ("features", "features:0"):
        (output,) = convert(tmp_path, path, outputs=[name])["outputs"]
        assert output == {"name": "features", "frameworkName": "features:0"}
    both = convert(tmp_path, path, outputs=["out", "features"])["outputs"]
    assert [each["name"] for each in both] == ["out", "features"]


def test_outputs_that_do_not_exist(tmp_path):
    path = frozen(tmp_path, convolution, 1, 8, 8, 3)
    error = refused("MODEL_OUTPUT", lambda: convert(tmp_path, path, outputs=["feature"]))
    assert "'feature'" in error.message and error.suggestions == ["Did you mean features?"]
    error = refused("MODEL_OUTPUT", lambda: convert(tmp_path, path, outputs=["zzz"]))
    assert "ends in out" in error.message and error.suggestions == ["Use --outputs out"]
    error = refused("MODEL_OUTPUT", lambda: convert(tmp_path, path, outputs=["features:3"]))
    assert "features:3" in error.message


def test_outputs_that_do_not_depend_on_the_input(tmp_path):
    path = frozen(tmp_path, convolution, 1, 8, 8, 3)
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(path.read_bytes())
    name = next(node.name for node in graph_def.node if node.op == "Const")
    refused("MODEL_INPUT", lambda: convert(tmp_path, path, outputs=[name]))


def test_branches_of_training_do_not_count_as_inputs(tmp_path):
    """A placeholder that only a loss reads is none of the network's."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        labels = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 4], name="labels")
        tf.reduce_mean(tf.square(tf.identity(convolution(x), name="out") - labels), name="loss")
    result = convert(tmp_path, write_graph(tmp_path, graph.as_graph_def()), outputs=["out"])
    assert [each["name"] for each in result["inputs"]] == ["x"]


def test_several_inputs_keep_the_order_of_the_graph(tmp_path):
    def build(x):
        other = tf.compat.v1.placeholder(tf.float32, [None, 4], name="other")
        return tf.concat([tf.reduce_mean(convolution(x), [1, 2]), other], 1)

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        tf.identity(build(x), name="out")
    path = write_graph(tmp_path, graph.as_graph_def())
    result = convert(tmp_path, path)
    assert [each["name"] for each in result["inputs"]] == ["x", "other"]
    assert [shape_of(result, place) for place in range(2)] == [["batch", 8, 8, 3], ["batch", 4]]


def test_integers_of_a_vocabulary(tmp_path):
    """Random integers have to lie in the vocabulary; where none do, the comparison is left to real samples."""
    few, none = (
        keras.Sequential([keras.Input((5,), dtype="int32"), layers.Embedding(size, 4), layers.Dense(2)]) for size in (4, 1)
    )
    result = convert(tmp_path, keras_file(tmp_path, few))
    assert 2 <= result["parity"]["samples"] < 4 and result["notes"] == []
    result = convert(tmp_path, keras_file(tmp_path, none))
    assert result["parity"]["samples"] == 0
    assert len(result["notes"]) == 1 and "random inputs" in result["notes"][0]


def run_params(path, result, source, **more):
    borders = {"inputs": result["inputs"], "outputs": result["outputs"]}
    return {**model_params(path), "borders": borders, "source": source, **more}


def test_parity_and_outputs_on_pictures_with_channels_last(tmp_path):
    import onnxruntime

    parts = [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)]
    path = keras_file(tmp_path, keras.Sequential(parts))
    result = convert(tmp_path, path)
    for place in range(3):
        picture(tmp_path / "data" / f"{place}.png", seed=place)
    name = result["inputs"][0]["name"]
    source = data_source(tmp_path / "data", inputs={name: ("float32", ["batch", 8, 8, 3])}, layout="nhwc", std=255)
    parity = door.check_parity(run_params(path, result, source, onnx=result["model"]), Events())
    assert parity["samples"] == 3 and parity["maxRelativeDifference"] < 1e-4
    (tmp_path / "run").mkdir()
    run = door.run_framework(run_params(path, result, source, out=str(tmp_path / "run")), Events())
    assert run["executor"] == f"TensorFlow {tf.__version__} CPU"
    session = onnxruntime.InferenceSession(result["model"], providers=["CPUExecutionProvider"])
    for place, sample in enumerate(run["samples"]):
        pixels = picture(tmp_path / "again.png", seed=place)[None].astype(np.float32) / 255
        (entry,) = sample["tensors"].values()
        found = np.fromfile(entry["path"], np.float32).reshape(entry["shape"])
        np.testing.assert_allclose(found, session.run(None, {name: pixels})[0], rtol=1e-4, atol=1e-5)


def test_parity_on_real_samples_fails_for_another_model(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    parts = [keras.Input((8, 8, 3), name="x"), layers.Conv2D(4, 3, name="only"), layers.Flatten()]
    path = keras_file(tmp_path / "a", keras.Sequential(parts))
    result = convert(tmp_path / "a", path)
    trained = keras.models.load_model(path)
    trained.set_weights([1.1 * each for each in trained.get_weights()])
    trained.save(tmp_path / "b" / "net.h5")
    np.save(tmp_path / "x.npy", normal(3, 8, 8, 3))
    source = data_source(tmp_path / "x.npy", inputs={"x": ("float32", ["batch", 8, 8, 3])})
    params = run_params(tmp_path / "b" / "net.h5", result, source, onnx=result["model"])
    error = refused("PARITY_FAILED", lambda: door.check_parity(params, Events()))
    assert "only/BiasAdd:0" in error.message


def test_samples_that_the_graph_refuses(tmp_path):
    parts = [keras.Input((5,), dtype="int32", name="x"), layers.Embedding(4, 4), layers.Dense(2)]
    path = keras_file(tmp_path, keras.Sequential(parts))
    result = convert(tmp_path, path)
    np.save(tmp_path / "x.npy", np.full((2, 5), 77, np.int32))
    source = data_source(tmp_path / "x.npy", inputs={"x": ("int32", ["batch", 5])})
    error = refused("MODEL_RUN", lambda: door.check_parity(run_params(path, result, source, onnx=result["model"]), Events()))
    assert error.kind == "user" and "77" in error.message and "File" not in error.message
