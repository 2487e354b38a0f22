"""Distillation: the float copy that the quantized model stays near, in loops, in fit() and on two devices."""

import keras_networks as networks
import numpy as np
import pytest
import tensorflow as tf

import dopt.tf as plugin
from dopt.errors import DoptError
from dopt.tf.distill import distance


def prepared(strategies="Quant_INT8-4"):
    x = np.random.default_rng(0).standard_normal([32, 16, 16, 3]).astype("f")
    model = networks.lively(networks.tiny())
    quantized = plugin.prepare(model, "x:1,16,16,3", strategies, batch_norm_warm_up=0)
    plugin.calibrate(quantized, [x])
    return x, model, quantized


def step_of(quantized, optimizer, compiled):
    def step(x):
        with tf.GradientTape() as tape:
            quantized(x, training=True)
            loss = plugin.distillation_loss(quantized)
        assert {id(each) for each in tape.watched_variables()} <= {id(each) for each in quantized.trainable_variables}
        gradients = tape.gradient(loss, quantized.trainable_variables)
        optimizer.apply_gradients(zip(gradients, quantized.trainable_variables))
        return loss

    return tf.function(step) if compiled else step


def lost(quantized):
    """What training with a careless rate would do: weights away from those of the float model."""
    for each in quantized.trainable_variables:
        if "kernel" in each.name:
            each.assign_add(0.2 * tf.math.reduce_std(each) * tf.random.stateless_normal(each.shape, [1, 2]))


@pytest.mark.parametrize("compiled", [True, False])
def test_a_loop_brings_the_float_model_near(compiled):
    x, model, quantized = prepared()
    variables = len(quantized.variables)
    step = step_of(quantized, tf.keras.optimizers.Adam(2e-3), compiled)
    first = float(step(x))
    lost(quantized)
    losses = [float(step(x)) for _ in range(20 if compiled else 15)]
    assert losses[0] > 2 * first and losses[-1] < 0.6 * losses[0]
    # The copy is none of its layers, and what the float model becomes is no matter.
    assert len(quantized.variables) == variables
    model.get_layer("fc").bias.assign_add(tf.ones(4))
    assert float(step(x)) < 0.6 * losses[0]


def test_fit_learns_without_labels_and_beside_them(tmp_path):
    x, model, quantized = prepared()
    plugin.add_distillation_loss(quantized, 1.0)
    lost(quantized)
    quantized.compile(tf.keras.optimizers.Adam(2e-3))
    losses = quantized.fit(x, batch_size=32, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    quantized.compile(tf.keras.optimizers.SGD(0.0), tf.keras.losses.SparseCategoricalCrossentropy(True))
    y = np.arange(32) % 4
    both = quantized.fit(x, y, 32, verbose=0).history["loss"][0]
    # Evaluation is the task's loss alone.
    task = quantized.evaluate(x, y, 32, verbose=0)
    assert 0.3 * losses[-1] < both - task < 2 * losses[-1]
    assert plugin.convert(quantized, str(tmp_path)).frozen


def test_the_first_loss_is_what_the_formulas_say():
    x, model, quantized = prepared()
    ours, theirs = quantized(x, training=False).numpy().astype("d"), model(x, training=False).numpy().astype("d")
    p, q = (np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in (theirs, ours))
    ends = [quantized.get_layer(name) for name in ("stem", "depthwise")]
    inner = tf.keras.Model(model.inputs, [model.layers[2].output, model.layers[5].output])
    rounded = tf.keras.Model(quantized.inputs, [each.output for each in ends])
    inside = [((a - b) ** 2).mean() / (b**2).mean() for a, b in zip(map(np.asarray, rounded(x)), map(np.asarray, inner(x)))]
    quantized(x, training=True)
    expected = (p * np.log(p / q)).sum(1).mean() + np.mean(inside)
    assert float(plugin.distillation_loss(quantized)) == pytest.approx(expected, rel=1e-3)


def test_results_are_compared_as_what_they_are():
    theirs = tf.constant([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]])
    ours = theirs + tf.constant([[0.3, 0.0, -0.2], [0.1, 0.5, 0.0]])
    scores = float(distance(ours, theirs, "free"))
    assert scores > 0
    assert float(distance(tf.nn.softmax(ours), tf.nn.softmax(theirs), "probabilities")) == pytest.approx(scores, rel=1e-5)
    # One score, a bounded one, or a picture is no distribution over classes.
    for a, b, kind in ((ours[:, :1], theirs[:, :1], "free"), (ours, theirs, "bounded"), (ours[None], theirs[None], "free")):
        power = float(tf.reduce_mean(b**2))
        assert float(distance(a, b, kind)) == pytest.approx(float(tf.reduce_mean((a - b) ** 2)) / power, rel=1e-5)
    soft = tf.keras.Sequential([tf.keras.Input([4], name="x"), tf.keras.layers.Dense(3), tf.keras.layers.Softmax()])
    assert plugin.prepare(soft, "x:1,4").dopt_plan.outputs == ["probabilities"]
    gate = tf.keras.Sequential([tf.keras.Input([4], name="x"), tf.keras.layers.Dense(3, "sigmoid")])
    assert plugin.prepare(gate, "x:1,4").dopt_plan.outputs == ["bounded"]
    with tf.GradientTape() as tape:
        tape.watch(ours)
        sure = tf.keras.activations.softmax(ours * 1000)
        loss = distance(sure, tf.keras.activations.softmax(-theirs), "probabilities")
    assert tape.gradient(loss, ours).numpy().all(), "a network that is sure of what is wrong learns"
    impossible = tf.constant([[1.0, 0.0, 0.0]])
    assert np.isfinite(float(distance(impossible[:, ::-1], impossible, "probabilities")))


def test_there_must_be_a_step():
    x, _, quantized = prepared()
    for call in (lambda: None, lambda: quantized(x, training=False)):
        call()
        with pytest.raises(DoptError) as caught:
            plugin.distillation_loss(quantized)
        assert caught.value.code == "PLUGIN_NO_STEP" and "training=True" in caught.value.suggestions[0]


def test_two_devices_have_one_float_copy():
    x = np.random.default_rng(0).standard_normal([16, 16, 16, 3]).astype("f")
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        quantized = plugin.prepare(networks.lively(networks.tiny()), "x:1,16,16,3", "Quant_INT8-4", batch_norm_warm_up=0)
        plugin.calibrate(quantized, [x])
        optimizer = tf.keras.optimizers.Adam(2e-3)

    @tf.function
    def step(part):
        def one(x):
            with tf.GradientTape() as tape:
                quantized(x, training=True)
                loss = plugin.distillation_loss(quantized) / 2
            optimizer.apply_gradients(zip(tape.gradient(loss, quantized.trainable_variables), quantized.trainable_variables))
            return loss

        return strategy.reduce("SUM", strategy.run(one, (part,)), axis=None)

    parts = next(iter(strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices(x).batch(16))))
    step(parts)
    lost(quantized)
    losses = [float(step(parts)) for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]
    with strategy.scope():
        plugin.add_distillation_loss(quantized, 1.0)
        quantized.compile(tf.keras.optimizers.SGD(0.0))
        found = quantized.fit(x, batch_size=16, verbose=0).history["loss"][0]
    assert found == pytest.approx(losses[-1], rel=0.3)
