"""Devices that train shared weights together do what one device does: tried on a processor that is named twice."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from dopt.errors import DoptError  # noqa: E402
from dopt.events import Events  # noqa: E402
from dopt.nas import tensorflow_parallel, tensorflow_train  # noqa: E402

#: ``SIZES`` are those of its batches, None for single samples; each sample stands there ``TWICE`` or once.
USER = """
import numpy as np
import tensorflow as tf

class UserModule:
    def __init__(self, epoch, batch_size):
        # A mean over samples, which losses of Keras refuse to be in a strategy.
        self.loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    def build_dataset_search(self, dir, is_training):
        inputs = np.random.RandomState(3).randn(16, 8, 8, 3).astype(np.float32).repeat(TWICE, 0)
        labels = {"kind": (inputs.mean((1, 2, 3)) > 0).astype(np.int32)}
        data = tf.data.Dataset.from_tensor_slices((inputs, labels))
        if SIZES is None:
            return (data if TWICE > 1 else data.shuffle(16)), len(inputs)
        ends = np.cumsum(SIZES)
        return (next(iter(data.skip(end - size).batch(size))) for size, end in zip(SIZES, ends)), int(ends[-1])
    def lr_scheduler(self, lr_init, global_step):
        return tf.compat.v1.train.cosine_decay(lr_init, global_step, 100)
    def metrics_op(self, inputs, outputs):
        return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(outputs, 1, tf.int32), inputs["kind"]), tf.float32))
    def loss_op(self, labels, logits):
        return self.loss(labels["kind"], logits)

class PreNet(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = tf.keras.layers.Conv2D(8, 3, padding="same", kernel_regularizer="l2")
        self.norm = tf.keras.layers.BatchNormalization() if NORM else None
    def call(self, inputs, training=None):
        found = self.conv(inputs)
        return found if self.norm is None else self.norm(found, training=training)

class PostNet(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.drop, self.head = tf.keras.layers.Dropout(DROP), tf.keras.layers.Dense(2)
    def call(self, inputs, training=None):
        return self.head(self.drop(tf.reduce_mean(inputs, (1, 2)), training=training))
"""


def layer(block, **changes):
    return {"block": block, "in": 8, "out": 8, "stride": 1, "kernel": 3, "hidden": 8, "squeeze": 0, **changes}


SKIP = layer("skip", kernel=0, hidden=0)


class Project:
    """A folder with a user's module, and what a search asks Python to do with it."""

    def __init__(self, folder, **given):
        self.folder = str(folder)
        os.makedirs(os.path.join(self.folder, "data"))
        text = "\n".join(f"{name} = {value!r}" for name, value in given.items())
        (folder / "user_module.py").write_text(f"{text}\n{USER}", encoding="utf-8")

    def file(self, name):
        return os.path.join(self.folder, name)

    def train(self, name, count, **changes):
        """The request that trains in checkpoint ``name`` on ``count`` devices."""
        networks = [[layer("conv", hidden=0)], [layer("mbconv", squeeze=8)]]
        return {"method": "nasTrain", "params": {
            "framework": "TensorFlow", "folder": self.folder, "application": "image_classification", "inputShape": [8, 8, 3],
            "channelsFirst": False, "trainFolder": self.file("data"), "valFolder": self.file("data"), "epochs": 2, "batchSize": 8,
            "features": [], "seed": 1, "gpu": None, "threads": 1, "log": self.folder,
            "optimizer": {"type": "Momentum", "learningRate": 0.05, "betas": [0.9, 0.999], "momentum": 0.9},
            "largest": [{each["block"]: each for (each,) in networks}], "checkpoint": self.file(f"{name}.npz"), "deck": networks,
            "guide": networks[0], "preTrainFolder": None, "places": [None] * count, **changes}}

    def found(self, name):
        """What a checkpoint holds, and its guide's."""
        files = {part: dict(np.load(self.file(f"{name}{part}.npz"))) for part in ("", ".guide")}
        return {f"{key}{part}": value for part, held in files.items() for key, value in held.items()}


@pytest.fixture(scope="module")
def projects(tmp_path_factory):
    """Three of them, trained by a process of its own, as in a search: what devices a processor is cannot be changed later."""
    folder = tmp_path_factory.mktemp("parallel")
    pairs = Project(folder / "pairs", SIZES=None, TWICE=2, NORM=True, DROP=0.0)
    # The guide is the one that two devices trained: it keeps variances, which Keras reckons from the number of pixels in a share.
    os.symlink(pairs.file("two.guide.npz"), pairs.file("one.guide.npz"))
    uneven = Project(folder / "uneven", SIZES=[3, 1], TWICE=1, NORM=False, DROP=0.0)
    plain = {"largest": [{"skip": SKIP}], "deck": [[SKIP]], "guide": [SKIP], "batchSize": 2}
    drops = Project(folder / "drops", SIZES=None, TWICE=1, NORM=True, DROP=0.5)
    asked = [
        pairs.train("two", 2, epochs=1), uneven.train("two", 2, **plain), drops.train("whole", 2), drops.train("parts", 2, epochs=1),
        drops.train("parts", 2), pairs.train("one", 1, epochs=1), uneven.train("one", 1, **plain),
    ]
    package = os.path.join(os.path.dirname(__file__), "../..")
    done = subprocess.run(
        [sys.executable, "-m", "dopt.job", "--serve"], env={**os.environ, "PYTHONPATH": package}, capture_output=True,
        input="".join(f"{json.dumps(each)}\n" for each in asked).encode())
    said = [json.loads(line) for line in done.stdout.decode().splitlines() if line.startswith("{")]
    answers = [each["envelope"] for each in said if each["type"] == "answer"]
    assert len(answers) == len(asked) and all(each["ok"] for each in answers), (answers, done.stderr.decode()[-3000:])
    return pairs, uneven, drops


def farthest(project):
    """The largest difference of a number between training on two devices and on one."""
    two, one = project.found("two"), project.found("one")
    assert two.keys() == one.keys()
    numbers = [name for name, value in two.items() if value.dtype == np.float32]
    assert len(numbers) > 10
    return max(np.abs(two[name] - one[name]).max() for name in numbers)


def test_two_devices_take_the_steps_of_one_on_the_whole_batch(projects):
    """With the same samples on both, normalizations have the statistics of the batch: all that is left is rounding."""
    assert farthest(projects[0]) < 1e-4


def test_shares_of_any_size_weigh_what_they_are(projects):
    """Without normalizations, in batches of three and one: one device then has no sample of its own."""
    assert farthest(projects[1]) < 1e-6


def test_training_that_was_cut_off_ends_with_the_same_weights(projects):
    whole, parts = (projects[2].found(name) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(np.array_equal(value, parts[name]) for name, value in whole.items())


def test_a_batch_is_dealt_out_along_its_samples():
    parts = [slice(0, None, 2), slice(1, None, 2)]
    first, second = tensorflow_parallel.taken(tf.ragged.constant([[1], [2, 3], []]), 3, parts)
    assert (first.to_list(), second.to_list()) == ([[1], []], [[2, 3]])
    for other in (tf.zeros((2, 3)), 1.0, tf.sparse.from_dense(np.eye(3)), len):
        with pytest.raises(DoptError) as caught:
            tensorflow_parallel.taken(other, 3, parts)
        assert caught.value.code == "NAS_DATASET" and "gpu_id" in caught.value.suggestions[1]


def test_a_gpu_that_is_not_there_is_told(tmp_path):
    if len(tf.config.list_physical_devices("GPU")) > 7:
        pytest.skip("this machine has the GPUs that it must not have")
    given = Project(tmp_path / "none", SIZES=None, TWICE=1, NORM=True, DROP=0.0).train("two", 2)["params"]
    with pytest.raises(DoptError) as caught:
        tensorflow_train.train({**given, "gpu": 6, "places": [6, 7]}, Events())
    assert caught.value.code == "GPU_UNAVAILABLE"
