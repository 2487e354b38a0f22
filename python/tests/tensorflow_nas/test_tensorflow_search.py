"""Shared weights compute what the network itself computes, and what a user may do wrong is told."""

import copy
import os

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from dopt.errors import DoptError  # noqa: E402
from dopt.events import Events  # noqa: E402
from dopt.nas import tensorflow_inherit, tensorflow_pretrain, tensorflow_retrain, tensorflow_run, tensorflow_search  # noqa: E402
from dopt.nas import tensorflow_train, tensorflow_user  # noqa: E402
from dopt.nas.tensorflow_blocks import Network  # noqa: E402
from dopt.nas.tensorflow_supernet import Norm, Supernet, cut_out, go_on, recalibrate  # noqa: E402

USER = """
import numpy as np
import tensorflow as tf

class UserModule:
    def __init__(self, epoch, batch_size):
        self.batch_size = batch_size
    def build_dataset_search(self, dir, is_training):
        inputs = np.random.RandomState(3).randn(COUNT, 8, 8, 3).astype(np.float32)
        labels = (inputs.mean((1, 2, 3)) > 0).astype(np.int32)
        data = tf.data.Dataset.from_tensor_slices((inputs, labels))
        return (data.shuffle(COUNT) if is_training and COUNT else data), COUNT
    def lr_scheduler(self, lr_init, global_step):
        return tf.compat.v1.train.cosine_decay(lr_init, global_step, 100)
    def metrics_op(self, inputs, outputs):
        return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(outputs, 1, tf.int32), inputs), tf.float32))
    def loss_op(self, labels, logits):
        return FACTOR * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

class PreNet(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = tf.keras.layers.Conv2D(8, 3, padding="same")
        self.norm = tf.keras.layers.BatchNormalization()
    def call(self, inputs, training=None):
        return self.norm(self.conv(inputs), training=training)

class PostNet(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.drop = tf.keras.layers.Dropout(0.5)
        self.head = tf.keras.layers.Dense(2, input_shape=(16,))
    def build(self, shape):
        self.head.build((None, 16))
        super().build(shape)
    def call(self, inputs, training=None):
        return self.head(self.drop(tf.reduce_mean(inputs, (1, 2)), training=training))
"""


def layer(block, before=8, after=16, stride=1, kernel=5, hidden=16, squeeze=0):
    return {"block": block, "in": before, "out": after, "stride": stride, "kernel": kernel, "hidden": hidden, "squeeze": squeeze}


def candidate(key, layers, parts=((1, None),), parent=None):
    return {"key": key, "layers": layers, "seed": 1, "parent": parent,
            "parts": [{"epochs": epochs, "file": file} for epochs, file in parts]}


BLOCKS = [
    layer("conv", hidden=0), layer("residual", stride=2), layer("residual", after=8, hidden=8), layer("bottleneck", hidden=8),
    layer("mbconv", squeeze=8), layer("mbconv", after=8), layer("fused", stride=2), layer("skip", after=8, kernel=0, hidden=0),
]


def largest(small):
    """Shared weights with more channels and a larger window than the layer needs."""
    grown = dict(small, kernel=max(small["kernel"], 7), hidden=2 * small["hidden"], squeeze=max(16, 2 * small["squeeze"]))
    grown.update({"in": 12, "out": 24})
    return {small["block"]: grown}


class Nothing(tf.keras.Model):
    def call(self, inputs, training=None):
        return inputs


@pytest.mark.parametrize("small", BLOCKS, ids=lambda each: f"{each['block']}-{each['stride']}-{each['out']}")
def test_shared_weights_compute_what_the_network_does(small):
    tf.keras.utils.set_random_seed(1)
    shared = Supernet(Nothing(), [largest(small)], Nothing())
    shared.active = [small]
    alone = Network(Nothing(), [small], Nothing())
    inputs = tf.random.normal((4, 8, 8, 8))
    alone(inputs)
    for norm in (each for each in shared.submodules if isinstance(each, Norm)):
        norm.weight.assign(tf.random.uniform(norm.weight.shape, 0.5, 1.5))
        norm.bias.assign(tf.random.uniform(norm.bias.shape, -0.5, 0.5))
    cut_out(alone, shared)
    expected, found = alone(inputs, training=True), shared(inputs, training=True)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # With the statistics of the same batches both are the same outside of training too.
    for network in (alone, shared):
        recalibrate(network, [inputs, 2 * inputs])
    np.testing.assert_allclose(shared(inputs), alone(inputs), atol=1e-4)


def test_weights_to_go_on_from_lie_between_new_and_shared_ones():
    tf.keras.utils.set_random_seed(1)
    small = layer("mbconv", squeeze=8)
    shared = Supernet(Nothing(), [largest(small)], Nothing())
    shared.active = [small]
    networks = [Network(Nothing(), [small], Nothing()) for _ in range(2)]
    for each in networks:
        each(tf.zeros((1, 8, 8, 8)))
    new = [each.numpy() for each in networks[0].trainable_variables]
    go_on(networks[0], shared)
    cut_out(networks[1], shared)
    for mine, before, ours in zip(networks[0].trainable_variables, new, networks[1].trainable_variables):
        mine, ours = mine.numpy(), ours.numpy()
        if mine.ndim < 2:
            np.testing.assert_allclose(mine, (before + ours) / 2, atol=1e-6)
            continue
        lengths = [np.linalg.norm(each) for each in (mine, before, ours)]
        np.testing.assert_allclose(lengths[0], lengths[1], rtol=1e-4)
        alike = [np.vdot(mine, other) / (lengths[0] * length) for other, length in zip((before, ours), lengths[1:])]
        assert abs(alike[0] - alike[1]) < 1e-4 and 0.5 < alike[0] < 0.9


@pytest.fixture
def project(tmp_path):
    def write(count=32, factor=1.0, source=USER):
        text = f"COUNT, FACTOR = {count}, float('{factor}')\n{source}"
        (tmp_path / "user_module.py").write_text(text, encoding="utf-8")
        (tmp_path / "data").mkdir(exist_ok=True)
        return str(tmp_path)

    return write


def params(folder, **changes):
    networks = [[layer("conv", hidden=0)], [layer("residual")]]
    return {
        "framework": "TensorFlow", "folder": folder, "application": "image_classification",
        "inputShape": [8, 8, 3], "channelsFirst": False,
        "trainFolder": os.path.join(folder, "data"), "valFolder": os.path.join(folder, "data"),
        "epochs": 2, "batchSize": 8, "features": [], "seed": 1, "gpu": None, "threads": 1,
        "optimizer": {"type": "Momentum", "learningRate": 0.05, "betas": [0.9, 0.999], "momentum": 0.9},
        "largest": [{"conv": networks[0][0], "residual": networks[1][0]}], "checkpoint": os.path.join(folder, "net.npz"),
        "deck": networks, "guide": networks[1], "calibrationBatches": 2, "tuneBatches": 0, "tuneSeeds": 1, "preTrainFolder": None, "places": [None],
        "networks": [candidate(str(i), each) for i, each in enumerate(networks)], **changes,
    }


def test_training_that_was_cut_off_ends_with_the_same_weights(project):
    folder = project()
    path = os.path.join(folder, "net.npz")
    tensorflow_train.train(params(folder), Events())
    whole = dict(np.load(path))
    os.remove(path)
    tensorflow_train.train(params(folder, epochs=1), Events())
    tensorflow_train.train(params(folder), Events())
    again = dict(np.load(path))
    assert whole.keys() == again.keys()
    assert all(np.array_equal(whole[name], again[name]) for name in whole)
    scores = [tensorflow_search.score(params(folder), Events())["results"] for _ in range(2)]
    assert scores[0] == scores[1]
    assert [each["key"] for each in scores[0]] == ["0", "1"]
    assert all(each["reason"] is None and 0 <= each["score"] <= 1 and each["loss"] is None for each in scores[0])
    # Networks that go on from the shared weights score the same whatever was scored before them.
    gone = tensorflow_search.score(params(folder, tuneBatches=6, tuneSeeds=2), Events())["results"]
    second = tensorflow_search.score(params(folder, tuneBatches=6, tuneSeeds=2, networks=params(folder)["networks"][1:]), Events())["results"]
    assert gone[1:] == second and all(each["reason"] is None and each["loss"] > 0 for each in gone)
    run = tensorflow_run.Run(params(folder))
    network = run.network(params(folder)["deck"][0])
    data = list(run.batches(False))
    inputs, labels = (tf.concat([batch[at] for batch in data], 0) for at in (0, 1))
    expected = float(run.loss(labels, network(inputs, training=False), network))
    assert abs(run.validation_loss(lambda x: network(x, training=False), network) - expected) < 1e-5


def test_a_network_is_trained_fully_and_written_with_samples(project):
    folder = project()
    given = params(folder, layers=[layer("residual")], out=folder, name="net", samples=20)
    given.update(checkpoint=os.path.join(folder, "alone.npz"), epochs=1)
    first = tensorflow_retrain.retrain(given, Events())
    trained = tensorflow_retrain.retrain(dict(given, epochs=3), Events())
    assert first["loss"] is not None and 0 <= trained["score"] <= 1
    with np.load(trained["calibration"]) as calibration, np.load(trained["validation"]) as validation:
        assert calibration[trained["input"]].shape == validation[trained["input"]].shape == (20, 8, 8, 3)
        expected = (validation[trained["input"]].mean((1, 2, 3)) > 0).astype(np.int64)
    np.testing.assert_array_equal(np.load(trained["labels"]), expected)
    graph_def = tf.compat.v1.GraphDef.FromString(open(trained["model"], "rb").read())
    assert trained["input"] in [node.name for node in graph_def.node if node.op == "Placeholder"]
    assert os.path.getsize(trained["weights"]) > 0


def test_layers_begin_with_what_they_learned_of_other_pictures(project, tmp_path):
    from PIL import Image

    for name, value in (("dark", 20), ("light", 230)):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (9, 7), (value + number,) * 3).save(str(tmp_path / "classes" / name / f"{number}.png"))
    first = params(project(), preTrainFolder=str(tmp_path / "classes"), epochs=1)
    tensorflow_train.train(first, Events())
    own = str(tmp_path / "pre-training" / "supernet.npz")
    # The weights of that folder are where the next search begins, and one with other layers says so.
    network = tensorflow_run.Run(first).supernet(first["deck"][0])
    fresh = network.shared[0].blocks["conv"]["first"].weight.numpy()
    tensorflow_pretrain.load_layers(network, own)
    with np.load(own) as stored:
        theirs = {name: stored[f"weight_{at}"] for at, name in enumerate(stored["names"].tolist())}
    names = tensorflow_run.names_of(network)
    assert len(set(names)) == len(names)
    same = {name: np.array_equal(each.numpy(), theirs[name]) for name, each in zip(names, network.variables) if "post" not in name}
    assert all(same.values()) and len(same) > 10
    assert not np.array_equal(fresh, network.shared[0].blocks["conv"]["first"].weight.numpy())
    other = tensorflow_run.Run(dict(first, largest=[{"fused": layer("fused")}])).supernet([layer("fused")])
    with pytest.raises(DoptError) as caught:
        tensorflow_pretrain.load_layers(other, own)
    assert caught.value.code == "NAS_PRE_TRAIN"
    with pytest.raises(DoptError) as caught:
        tensorflow_train.train(dict(first, preTrainFolder=str(tmp_path / "data")), Events())
    assert caught.value.code == "NAS_DATASET"


#: As the original's demonstration of a detector has it: generators of arrays, a validation that is asked for as a whole, and
#: a PostNet that reads chosen layers and gives a list.
DETECTOR = USER.replace("""        data = tf.data.Dataset.from_tensor_slices((inputs, labels))
        return (data.shuffle(COUNT) if is_training and COUNT else data), COUNT
""", """        def batches(size):
            while True:
                for at in range(0, COUNT, size):
                    found = inputs[at:at + size], labels[at:at + size].astype(np.float64)
                    yield found if is_training else (*found, [lambda each: each] * size)
        parsed = type("Parsed", (), {"image_ids": list(range(COUNT))})
        return (batches(8) if is_training else [batches(1), parsed]), COUNT
""").replace("""        return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(outputs, 1, tf.int32), inputs), tf.float32))
""", """        (folder, model), (generator, names, count) = inputs, outputs
        assert folder.endswith("data") and len(names) == count
        pairs = [next(generator) for _ in range(count)]
        return np.mean([np.argmax(model(x, training=False)[1][0]) == y[0] for x, y, _ in pairs])
""").replace("(labels, logits)", "(tf.cast(labels, tf.int32), logits[0] + logits[1])").replace(
    "def loss_op(self, (tf.cast(labels, tf.int32), logits[0] + logits[1])", "def loss_op(self, labels, logits").replace(
    "self.head(self.drop(tf.reduce_mean(inputs, (1, 2)), training=training))", "[self.head(tf.reduce_mean(each, (1, 2))) for each in inputs]")

#: As its demonstration of segmentation has it: dicts without end, and logits by scale whose classes the metric gets.
SEGMENTER = USER.replace("labels = (inputs.mean((1, 2, 3)) > 0).astype(np.int32)", "labels = (inputs.mean(3) > 0).astype(np.int32)").replace(
    "data = tf.data.Dataset.from_tensor_slices((inputs, labels))", "data = tf.data.Dataset.from_tensor_slices({'image': inputs, 'label': labels})"
).replace("return (data.shuffle(COUNT) if is_training and COUNT else data), COUNT",
          "return data.repeat().batch(self.batch_size if is_training else 1, drop_remainder=True), COUNT").replace(
    "tf.cast(tf.equal(tf.argmax(outputs, 1, tf.int32), inputs), tf.float32)",
    "tf.cast(tf.equal(tf.cast(outputs['classes'], tf.int32), inputs), tf.float32)").replace(
    "(labels, logits)\n", "(labels, tf.image.resize(logits['classes']['merged'], labels.shape[1:3]))\n").replace(
    "self.head(self.drop(tf.reduce_mean(inputs, (1, 2)), training=training))", "{'classes': {'merged': self.head(inputs)}}")


@pytest.mark.parametrize("application, source, features", [
    ("object_detection", DETECTOR, [0]), ("semantic_segmentation", SEGMENTER, [])], ids=["detection", "segmentation"])
def test_what_the_demonstrations_of_the_original_have_is_searched(project, application, source, features):
    layers = [layer("conv", hidden=0), layer("residual", before=16, stride=2)]
    given = params(
        project(source=source), application=application, features=features, guide=layers, deck=[layers], epochs=1,
        largest=[{each["block"]: each} for each in layers], networks=[candidate("0", layers)])
    # TensorFlow puts its own dicts in the place of those that a network holds.
    tensorflow_train.train(copy.deepcopy(given), Events())
    for each in (given, dict(given, checkpoint=None)):
        (result,) = tensorflow_search.score(copy.deepcopy(each), Events())["results"]
        assert result["reason"] is None and 0 < result["score"] <= 1


def test_a_network_alone_scores_the_same_whatever_was_scored_before_it(project):
    given = params(project(), checkpoint=None, epochs=1)
    both = tensorflow_search.score(given, Events())["results"]
    second = tensorflow_search.score(dict(given, networks=given["networks"][1:]), Events())["results"]
    assert both[1:] == second


def test_a_network_that_is_trained_on_is_what_it_would_be_trained_at_once(project, tmp_path):
    given = params(project(), checkpoint=None)
    layers, files = given["networks"][1]["layers"], [str(tmp_path / f"{at}.npz") for at in range(2)]
    score = lambda: tensorflow_search.score(  # noqa: E731
        dict(given, networks=[candidate("0", layers, ((1, files[0]), (1, files[1])))]), Events())
    at_once, whole = score(), dict(np.load(files[1]))
    os.remove(files[1])
    assert score() == at_once
    assert all(np.array_equal(value, whole[name]) for name, value in np.load(files[1]).items())


def test_a_network_begins_with_what_it_has_in_common_with_its_parent(project, tmp_path):
    given, file = params(project(), checkpoint=None), str(tmp_path / "parent.npz")
    theirs = [layer("mbconv", kernel=3), layer("conv", 16, 16, hidden=0), layer("residual", 16, 16)]
    ours = [layer("mbconv", kernel=5, hidden=24), layer("fused", 16, 16), layer("residual", 16, 16, kernel=3)]
    run = tensorflow_run.Run(given)
    parent, network = run.network(theirs), run.network(ours)
    with open(file, "wb") as opened:
        tensorflow_inherit.save(opened, parent)
    fresh = [each.numpy() for each in network.variables]
    tensorflow_inherit.inherit(network, ours, {"file": file, "layers": theirs})
    weight = lambda each, layer, part: each.searched[layer].parts[part].conv.weights[0].numpy()  # noqa: E731
    assert np.array_equal(weight(network, 0, 1)[1:4, 1:4, :16], weight(parent, 0, 1))
    assert np.array_equal(weight(network, 2, 0), weight(parent, 2, 0)[1:4, 1:4])
    # Another kind of block stays as it was made.
    assert any(np.array_equal(weight(network, 1, 0), each) for each in fresh)


def test_a_loss_that_is_no_number_is_told(project):
    folder = project(factor="nan")
    with pytest.raises(DoptError) as caught:
        tensorflow_train.train(params(folder), Events())
    assert caught.value.code == "NAS_LOSS"
    results = tensorflow_search.score(params(folder, checkpoint=None, epochs=1), Events())["results"]
    assert [each["reason"] for each in results] == ["not-a-number", "not-a-number"]


def test_memory_that_runs_out_is_a_reason_and_no_crash(project, monkeypatch):
    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    monkeypatch.setattr(tensorflow_run.Run, "fit", full)
    results = tensorflow_search.score(params(project(), checkpoint=None), Events())["results"]
    assert [each["reason"] for each in results] == ["out-of-memory", "out-of-memory"]


def test_what_user_module_lacks_is_named_with_a_skeleton(project):
    with pytest.raises(DoptError) as caught:
        tensorflow_user.load(project(source=USER.replace("def metrics_op", "def metric")))
    assert caught.value.code == "NAS_USER_MODULE"
    assert "UserModule.metrics_op" in caught.value.message
    assert "def metrics_op(self, inputs, outputs)" in caught.value.suggestions[0]


@pytest.mark.parametrize("change, says", [
    ({"count": 0}, "finds nothing"),
    ({"source": USER.replace("if is_training and COUNT else data), COUNT", "if is_training else data)")}, "must return"),
])
def test_a_dataset_that_is_none_is_told(project, change, says):
    with pytest.raises(DoptError, match=says) as caught:
        tensorflow_train.train(params(project(**change)), Events())
    assert caught.value.code == "NAS_DATASET"


def test_fixed_parts_are_described(project, tmp_path):
    import onnx

    given = {
        "framework": "TensorFlow", "folder": project(), "inputShape": [8, 8, 3], "channelsFirst": False, "filters": [16],
        "strides": [2], "features": [], "out": str(tmp_path),
    }
    described = tensorflow_search.describe(given, Events())
    assert (described["channels"], described["height"], described["width"]) == (8, 8, 8)
    # Maps of the ONNX form are as the searched part has them: nothing is turned on the way from one to the other.
    assert [node.op_type for node in onnx.load(described["pre"]).graph.node if node.op_type == "Transpose"] == []
    with pytest.raises(DoptError) as caught:
        tensorflow_search.describe(dict(given, filters=[24]), Events())
    assert caught.value.code == "NAS_NETWORK"
    assert "[1, 4, 4, 24]" in caught.value.message
