"""The recipe for detection: what its loss asks for is what its metric finds, and a search's parts run on it."""

import importlib.util
import os

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from PIL import Image  # noqa: E402

from dopt.nas.tensorflow_run import Run  # noqa: E402

RECIPE = os.path.join(os.path.dirname(__file__), "../../../recipes/nas/coco_tf")


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("coco_tf", os.path.join(RECIPE, "user_module.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twenty pictures; the first holds a small person, a large one and a car, others one person at another place each."""
    folder = tmp_path_factory.mktemp("coco")
    for name in ("images", "labels"):
        (folder / name).mkdir()
    draws = np.random.RandomState(5)
    for number in range(20):
        Image.fromarray(draws.randint(0, 255, (60, 80, 3), np.uint8)).save(folder / "images" / f"{number:03}.jpg")
        lines = [f"0 {0.2 + 0.03 * number} 0.4 0.2 0.3"]
        if number == 0:
            lines += ["0 0.6 0.5 0.6 0.8", "2 0.5 0.5 0.1 0.1"]
        (folder / "labels" / f"{number:03}.txt").write_text("\n".join(lines))
    return str(folder)


def test_every_fifth_picture_judges_and_only_people_are_looked_for(recipe, pictures):
    _, known = recipe.people(pictures, False)
    assert len(known) == 4 and len(recipe.people(pictures, True)[0]) == 16
    np.testing.assert_allclose(known[0][:3], [[25.6, 51.2, 25.6, 38.4, 0], [76.8, 64, 76.8, 102.4, 0], [0] * 5], rtol=1e-6)


def maps_that_say(recipe, labels):
    """Outputs of a network that finds all boxes where the loss wants them."""
    found = []
    for level, step in enumerate(recipe.STEPS):
        side = recipe.SIZE // step
        classes, boxes, _ = recipe.targets(labels, level, tf.zeros((len(labels), side, side, 5)))
        found.append(tf.concat([boxes, 20 * classes - 10], 3))
    return found


def test_what_the_loss_asks_for_is_found(recipe, pictures):
    labels = tf.constant(recipe.people(pictures, False)[1])
    user, maps = recipe.UserModule(1, 8), maps_that_say(recipe, labels)
    assert float(user.loss_op(labels, maps)) < 0.01
    assert float(user.metrics_op(labels, maps).result()) == pytest.approx(100)
    user.metric.reset_state()
    assert float(user.metrics_op(tf.reverse(labels, [0]), maps).result()) < 50


def test_a_turned_picture_has_its_boxes_turned(recipe, pictures):
    inputs, labels = recipe.people(pictures, True)
    tf.random.set_seed(1)
    results = [recipe.turned(tf.constant(inputs[0]), tf.constant(labels[0])) for _ in range(8)]
    turned = [boxes for picture, boxes in results if not np.array_equal(picture, inputs[0])]
    assert 0 < len(turned) < 8
    assert float(turned[0][0, 0]) == pytest.approx(128 - labels[0][0, 0])
    assert float(tf.reduce_sum(tf.abs(turned[0][1:]))) == 0


def test_a_network_learns_it_and_is_judged(pictures, tmp_path):
    layer = {"in": 16, "out": 64, "kernel": 3, "hidden": 0, "squeeze": 0, "block": "conv"}
    layers = [{**layer, "stride": 2}, {**layer, "in": 64, "stride": 2}]
    params = {
        "folder": RECIPE, "framework": "TensorFlow", "application": "object_detection",
        "inputShape": [128, 128, 3], "channelsFirst": False, "trainFolder": pictures, "valFolder": pictures, "epochs": 1, "batchSize": 8, "features": [0], "seed": 1, "gpu": None,
        "optimizer": {"type": "Adam", "learningRate": 0.003, "betas": [0.9, 0.999], "momentum": 0.9}, "log": None, "threads": 1,
        "largest": [], "deck": [], "checkpoint": str(tmp_path / "weights.npz"),
    }
    run = Run(params)
    run.seed(1)
    network = run.network(layers)
    losses = run.tune(network, 12)
    assert losses[-1] < losses[0]
    assert 0 <= run.evaluate(lambda inputs: network(inputs, training=False)) <= 100
