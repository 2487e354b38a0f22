"""The original tool's functions on graphs of TensorFlow 1, and the mistakes that people make with them."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow

import dopt.dopt_tf.opt_main as dopt
from dopt.errors import DoptError

tf = tensorflow.compat.v1


@pytest.fixture(autouse=True)
def one_graph():
    with tensorflow.Graph().as_default():
        tf.set_random_seed(0)
        yield


def network(x, training=False, width=6):
    """Convolutions by variable and by layer, batch normalization, depthwise, a product of activations, a fully connected layer."""
    kernel = tf.get_variable("conv1/kernel", [3, 3, 3, width])
    y = tf.nn.conv2d(x, kernel, 1, "SAME", name="conv1/Conv2D")
    y = tf.nn.relu(tf.nn.bias_add(y, tf.get_variable("conv1/bias", [width], initializer=tf.random_normal_initializer(0, 0.1))))
    y = tf.nn.depthwise_conv2d(y, tf.get_variable("depthwise/kernel", [3, 3, width, 1]), [1, 1, 1, 1], "SAME", name="dw")
    y = tf.layers.batch_normalization(y, training=training, name="bn")
    y = tf.layers.max_pooling2d(tf.nn.relu6(y) + 1.0, 2, 2)
    y = tf.layers.dense(tf.layers.flatten(y), 12, tf.nn.relu, name="fc1")
    return tf.layers.dense(y, 4, name="logits")


def data(count=64):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal([count, 8, 8, 3]).astype("f") * 0.5, np.arange(count) % 4
    for index, label in enumerate(y):
        row, column = divmod(int(label), 2)
        x[index, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] += 1
    return x, y


def built(sess_config=None):
    x = tf.placeholder(tf.float32, [None, 8, 8, 3], name="input")
    logits = network(x)
    sess = tf.Session(config=sess_config)
    sess.run(tf.global_variables_initializer())
    return x, logits, sess


def refused(code, function, *arguments):
    with pytest.raises(DoptError) as caught:
        function(*arguments)
    assert caught.value.code == code, caught.value.message
    assert caught.value.suggestions
    return caught.value


def test_the_samples_run_as_they_stand(tmp_path):
    """Configuration, retraining, calibration, saving, extraction: the steps of the original's guide."""
    config, checkpoint, output = (str(tmp_path / name) for name in ("config.json", "quant.ckpt", "out"))
    images, labels_ = data()
    x = tf.placeholder(tf.float32, [None, 8, 8, 3], name="input")
    labels = tf.placeholder(tf.int64, [None], name="labels")
    is_train_flag, quant_flag = tf.placeholder(tf.bool, name="is_train"), tf.placeholder(tf.int32, name="quant")
    logits = network(x)
    sess = tf.Session()
    dopt.generate_config_file(sess, config)
    content = json.loads(Path(config).read_text())
    assert content["input_shape"] == "input:1,8,8,3"
    assert set(content["layer_strategy"]) == {"conv1/Conv2D", "dw", "fc1/MatMul", "logits/MatMul"}
    assert content["layer_strategy"]["fc1/MatMul"]["op_type"] == "MatMul"

    dopt.optimize_model(sess, config, is_train_flag, quant_flag)
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    step = tf.train.GradientDescentOptimizer(0.05).minimize(loss)
    sess.run(tf.global_variables_initializer())
    saver = tf.train.Saver()
    feed = {x: images, labels: labels_}
    floats = sess.run(logits, {x: images, is_train_flag: False, quant_flag: 0})
    dopt.set_calibrate_state(sess, True)
    assert np.allclose(sess.run(logits, {x: images, is_train_flag: False, quant_flag: 1}), floats, atol=1e-6)
    dopt.set_calibrate_state(sess, False)
    quantized = sess.run(logits, {x: images, is_train_flag: False, quant_flag: 1})
    assert 0 < np.abs(quantized - floats).max() < 0.2
    assert np.allclose(sess.run(logits, {x: images, is_train_flag: False, quant_flag: 0}), floats, atol=1e-6)

    scales = [each for each in tf.trainable_variables() if each.op.name.endswith("log_scale")]
    first = sess.run(loss, {**feed, is_train_flag: False, quant_flag: 1})
    for _ in range(80):
        sess.run(step, {**feed, is_train_flag: True, quant_flag: 1})
    moved = sess.run(scales)
    assert sess.run(loss, {**feed, is_train_flag: False, quant_flag: 1}) < 0.8 * first
    assert np.mean([np.abs(each).max() > 0 for each in moved]) > 0.9
    # Without the flag, weights train and scales do not.
    sess.run(step, {**feed, is_train_flag: False, quant_flag: 1})
    assert all(np.array_equal(a, b) for a, b in zip(moved, sess.run(scales)))
    saver.save(sess, checkpoint)
    decided = sess.run(logits, {x: images, is_train_flag: False, quant_flag: 1})

    with tensorflow.Graph().as_default():
        network(tf.placeholder(tf.float32, [None, 8, 8, 3], name="input"))
        final = tf.Session()
        written = dopt.generate_final_model(final, config, ["logits/BiasAdd"], checkpoint, output)
    assert written.frozen and Path(written.quantized).name == "model.int8.onnx"
    notes = json.loads((tmp_path / "out" / "result.json").read_text())["model"]["notes"]
    assert "4 of 4 decisions are the same" in notes[-1], notes
    params = json.loads(Path(written.parameters).read_text())["tensors"]
    assert {each["node"] for each in params if each["kind"] == "weight"} == set(content["layer_strategy"])
    assert not any(node.op_type == "BatchNormalization" for node in onnx.load(written.quantized).graph.node)
    session = onnxruntime.InferenceSession(written.quantized, providers=["CPUExecutionProvider"])
    theirs = np.concatenate([session.run(None, {"input": image[None]})[0] for image in images])
    assert (theirs.argmax(1) == decided.argmax(1)).all()
    graph_def = tf.GraphDef()
    graph_def.ParseFromString(Path(written.frozen).read_bytes())
    with tensorflow.Graph().as_default() as graph, tf.Session() as again:
        tensorflow.import_graph_def(graph_def, name="")
        frozen = again.run(graph.get_tensor_by_name("logits/BiasAdd:0"), {"input:0": images})
    assert (frozen.argmax(1) == decided.argmax(1)).all()


def test_values_of_variables_and_graphs_that_have_run_are_kept(tmp_path):
    x, logits, sess = built()
    images, _ = data(8)
    before = sess.run(logits, {x: images})
    dopt.generate_config_file(sess, str(tmp_path / "c.json"))
    dopt.optimize_model(sess, str(tmp_path / "c.json"), True, 1)
    # Uncalibrated, in training: ranges come from the first batch.
    found = sess.run(logits, {x: images})
    assert 0 < np.abs(found - before).max() < 0.2


def test_training_statistics_of_batch_normalization(tmp_path):
    """A graph that is built for training, its normalization switched by a placeholder, and exported from one for inference."""
    x, training = tf.placeholder(tf.float32, [None, 8, 8, 3], name="input"), tf.placeholder_with_default(False, [])
    logits = network(x, training)
    sess = tf.Session()
    config, checkpoint = str(tmp_path / "c.json"), str(tmp_path / "q.ckpt")
    dopt.generate_config_file(sess, config)
    dopt.optimize_model(sess, config, training, 1)
    sess.run(tf.global_variables_initializer())
    images, _ = data(16)
    for _ in range(3):
        sess.run([logits, tf.get_collection(tf.GraphKeys.UPDATE_OPS)], {x: images, training: True})
    tf.train.Saver().save(sess, checkpoint)
    with tensorflow.Graph().as_default():
        network(tf.placeholder(tf.float32, [None, 8, 8, 3], name="input"))
        assert dopt.generate_final_model(tf.Session(), config, "logits/BiasAdd", checkpoint, str(tmp_path / "out")).frozen


def test_what_does_not_fit_is_refused(tmp_path):
    x, logits, sess = built()
    config, checkpoint = str(tmp_path / "c.json"), str(tmp_path / "q.ckpt")
    dopt.generate_config_file(sess, config)
    refused("PLUGIN_NOT_QUANTIZED", dopt.set_calibrate_state, sess, True)
    refused("PLUGIN_SESSION", dopt.generate_config_file, "session", config)
    float_checkpoint = tf.train.Saver().save(sess, str(tmp_path / "float.ckpt"))
    error = refused("PLUGIN_CHECKPOINT", dopt.generate_final_model, sess, config, ["logits/BiasAdd"], float_checkpoint, str(tmp_path / "o"))
    assert "float network" in error.suggestions[0]
    assert "logits" in refused("PLUGIN_OUTPUTS", dopt.generate_final_model, sess, config, ["logit/BiasAdd"], float_checkpoint, "o").suggestions[0]
    with tensorflow.Graph().as_default():
        tf.layers.dense(tf.placeholder(tf.float32, [None, 3], name="input"), 2, name="other")
        refused("PLUGIN_LAYER_UNKNOWN", dopt.optimize_model, tf.Session(), config, True, 1)

    dopt.optimize_model(sess, config, False, 1)
    refused("PLUGIN_QUANTIZED", dopt.optimize_model, sess, config, True, 1)
    refused("PLUGIN_QUANTIZED", dopt.generate_final_model, sess, config, ["logits/BiasAdd"], checkpoint, str(tmp_path / "o"))
    dopt.set_calibrate_state(sess, True)
    refused("PLUGIN_NO_CALIBRATION", dopt.set_calibrate_state, sess, False)
    tf.train.Saver().save(sess, checkpoint)
    with tensorflow.Graph().as_default():
        refused("PLUGIN_NO_CALIBRATION", dopt.generate_final_model, built()[2], config, ["logits/BiasAdd"], checkpoint, str(tmp_path / "o"))
    assert not (tmp_path / "o").exists()
    images = data(4)[0]
    images[0, 0, 0, 0] = np.nan
    with pytest.raises(Exception, match="NaN or infinite"):
        sess.run(logits, {x: images})
    assert refused("PLUGIN_NOT_FINITE", dopt.set_calibrate_state, sess, False).place == "conv1/Conv2D"


def test_an_optimizer_that_is_there_already_is_told(tmp_path):
    x, logits, sess = built()
    dopt.generate_config_file(sess, str(tmp_path / "c.json"))
    tf.train.AdamOptimizer().minimize(tf.reduce_sum(logits))
    with pytest.warns(UserWarning, match="optimizer already"):
        dopt.optimize_model(sess, str(tmp_path / "c.json"), True, 1)


def test_distillation_brings_the_float_network_near(tmp_path):
    """A normalization that a placeholder switches, class scores behind a softmax, weights that came after quantization."""
    images, _ = data(32)
    x, training = tf.placeholder(tf.float32, [None, 8, 8, 3], name="input"), tf.placeholder_with_default(False, [])
    tf.nn.softmax(network(x, training), name="classes")
    sess = tf.Session()
    config = str(tmp_path / "c.json")
    dopt.generate_config_file(sess, config, default_strategy="Quant_INT8-4")
    dopt.optimize_model(sess, config, True, 1)
    refused("PLUGIN_NO_WEIGHTS", dopt.get_quant_loss, sess, "classes")
    sess.run(tf.global_variables_initializer())
    dopt.set_calibrate_state(sess, True)
    floats = sess.run("classes:0", {x: images})
    dopt.set_calibrate_state(sess, False)
    assert "classes" in refused("PLUGIN_OUTPUTS", dopt.get_quant_loss, sess, "klasses").suggestions[0]
    loss = dopt.get_quant_loss(sess, "classes")
    kernels = [each for each in tf.trainable_variables() if "kernel" in each.op.name]
    for kernel in kernels:
        value = sess.run(kernel)
        kernel.load(value + 0.2 * value.std() * np.random.standard_normal(value.shape), sess)
    optimizer = tf.train.AdamOptimizer(2e-3)
    step = optimizer.minimize(loss)
    sess.run(tf.variables_initializer(optimizer.variables()))
    # The copy computes for inference, whatever the graph does, and keeps the weights that it was made with.
    copy = sess.graph.get_tensor_by_name("dopt/float_copy/logits/BiasAdd:0")
    softmax = np.exp(sess.run(copy, {x: images, training: True}))
    assert np.allclose(softmax / softmax.sum(1, keepdims=True), floats, atol=1e-6)
    losses = [sess.run([loss, step], {x: images})[0] for _ in range(25)]
    assert losses[-1] < 0.5 * losses[0]
    tf.train.Saver().save(sess, str(tmp_path / "q.ckpt"))
    with tensorflow.Graph().as_default():
        network(tf.placeholder(tf.float32, [None, 8, 8, 3], name="input"))
        written = dopt.generate_final_model(tf.Session(), config, "logits/BiasAdd", str(tmp_path / "q.ckpt"), str(tmp_path / "out"))
    assert written.frozen
