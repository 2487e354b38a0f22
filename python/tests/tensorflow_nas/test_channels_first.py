"""Pictures and fixed parts with channels first: searched, retrained and written as they are."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from dopt.nas.tensorflow_blocks import FromChannelsFirst, Network, ToChannelsFirst  # noqa: E402

USER = """
import numpy as np
import tensorflow as tf

class UserModule:
    def __init__(self, epoch, batch_size):
        self.batch_size = batch_size
    def build_dataset_search(self, dir, is_training):
        inputs = np.random.RandomState(3).randn(32, 3, 8, 8).astype(np.float32)
        return tf.data.Dataset.from_tensor_slices((inputs, (inputs.mean((1, 2, 3)) > 0).astype(np.int32))), 32
    def lr_scheduler(self, lr_init, global_step):
        return lr_init
    def metrics_op(self, inputs, outputs):
        return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(outputs, 1, tf.int32), inputs), tf.float32))
    def loss_op(self, labels, logits):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

class PreNet(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = tf.keras.layers.Conv2D(8, 3, padding="same", data_format="channels_first")
        self.norm = tf.keras.layers.BatchNormalization(axis=1)
    def call(self, inputs, training=None):
        return self.norm(self.conv(inputs), training=training)

class PostNet(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.head = tf.keras.layers.Dense(2)
    def call(self, inputs, training=None):
        return self.head(sum(tf.reduce_mean(each, (2, 3)) for each in inputs))
"""

#: A process of its own, as a search has: TensorFlow reads whether to use oneDNN when it is loaded.
RUN = """
import json, sys
from dopt.events import Events
from dopt.nas import methods
# Read for each anew: TensorFlow puts its own dicts in the place of those that a network holds.
given = lambda part: json.load(open(sys.argv[1]))[part]
described = methods.describe(given("describe"), Events())
methods.train(given("run"), Events())
scored = methods.score(given("run"), Events())["results"]
trained = methods.retrain(given("retrain"), Events())
print(json.dumps({"described": described, "scored": scored, "trained": trained}))
"""


def layer(block, before, stride=1):
    return {"block": block, "in": before, "out": 16, "stride": stride, "kernel": 3, "hidden": 16, "squeeze": 0}


LAYERS = [layer("conv", 8, 2), layer("residual", 16)]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("first"))
    os.mkdir(os.path.join(folder, "data"))
    with open(os.path.join(folder, "user_module.py"), "w", encoding="utf-8") as file:
        file.write(USER)
    base = {"framework": "TensorFlow", "folder": folder, "inputShape": [8, 8, 3], "channelsFirst": True, "features": [0]}
    run = {
        **base, "application": "image_classification", "trainFolder": f"{folder}/data", "valFolder": f"{folder}/data",
        "epochs": 1, "batchSize": 8, "seed": 1, "gpu": None, "threads": 1, "log": folder,
        "optimizer": {"type": "Momentum", "learningRate": 0.05, "betas": [0.9, 0.999], "momentum": 0.9},
    }
    shared = {
        **run, "largest": [{each["block"]: each} for each in LAYERS], "checkpoint": f"{folder}/net.npz", "deck": [LAYERS],
        "guide": LAYERS, "calibrationBatches": 2, "tuneBatches": 2, "tuneSeeds": 2, "preTrainFolder": None, "places": [None],
        "networks": [{"key": "0", "layers": LAYERS, "seed": 1, "parent": None, "parts": []}],
    }
    retrain = {**run, "layers": LAYERS, "checkpoint": f"{folder}/alone.npz", "out": folder, "name": "net", "samples": 4}
    describe = {**base, "filters": [16, 16], "strides": [2, 1], "out": folder}
    given = os.path.join(folder, "given.json")
    with open(given, "w", encoding="utf-8") as file:
        json.dump({"describe": describe, "run": shared, "retrain": retrain}, file)
    package = os.path.join(os.path.dirname(__file__), "../..")
    done = subprocess.run([sys.executable, "-c", RUN, given], env={**os.environ, "PYTHONPATH": package}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads(done.stdout.decode().strip().split("\n")[-1])


def test_fixed_parts_are_described_as_they_are(found):
    onnx = pytest.importorskip("onnx")
    described = found["described"]
    assert (described["channels"], described["height"], described["width"]) == (8, 8, 8)
    graph = onnx.load(described["pre"]).graph
    assert [each.dim_value for each in graph.input[0].type.tensor_type.shape.dim] == [1, 3, 8, 8]
    assert "Transpose" not in [node.op_type for node in graph.node]


def test_networks_are_searched_and_written_with_channels_first(found):
    (scored,) = found["scored"]
    assert scored["reason"] is None and scored["loss"] > 0
    trained = found["trained"]
    with np.load(trained["calibration"]) as samples:
        assert samples[trained["input"]].shape == (4, 3, 8, 8)
    graph_def = tf.compat.v1.GraphDef.FromString(open(trained["model"], "rb").read())
    (entry,) = [node for node in graph_def.node if node.op == "Placeholder"]
    assert [each.size for each in entry.attr["shape"].shape.dim] == [1, 3, 8, 8]


def test_searched_layers_compute_the_same_between_turned_maps():
    class Nothing(tf.keras.Model):
        def call(self, inputs, training=None):
            return inputs

    last, first = Network(Nothing(), LAYERS, Nothing()), Network(FromChannelsFirst(Nothing()), LAYERS, ToChannelsFirst(Nothing()))
    inputs = tf.random.normal((2, 6, 5, 8))
    expected = last(inputs)
    first(tf.transpose(inputs, (0, 3, 1, 2)))
    first.set_weights(last.get_weights())
    outputs = first(tf.transpose(inputs, (0, 3, 1, 2)))
    np.testing.assert_allclose(outputs, tf.transpose(expected, (0, 3, 1, 2)), rtol=1e-5, atol=1e-6)
