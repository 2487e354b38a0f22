"""Training: gradients, stability, fit and custom loops, batch statistics, two devices, checkpoints."""

import keras_networks as networks
import numpy as np
import pytest
import tensorflow as tf

import dopt.tf as plugin
from dopt.tf.functions import round_activation, round_weight
from dopt.tf.network import layers_in, quantizers_of

LOSS = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def task(count=64, size=32, classes=4):
    """Pictures with a bright quadrant: which one is the class."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal([count, size, size, 3]) * 0.5).astype(np.float32), np.arange(count) % classes
    half = size // 2
    for index in range(count):
        row, column = divmod(int(y[index]), 2)
        x[index, row * half : (row + 1) * half, column * half : (column + 1) * half] += 1
    return x, y


def fit(model, x, y, steps, optimizer, batch=16):
    """Losses of the steps."""
    losses = []
    model.compile(optimizer, LOSS)
    keep = tf.keras.callbacks.LambdaCallback(on_batch_end=lambda _, logs: losses.append(logs["loss"]))
    model.fit(x, y, batch, steps * batch // len(x), verbose=0, callbacks=[keep], shuffle=False)
    return losses


def loss_of(model, x, y):
    return float(LOSS(y, model(x, training=False)))


def test_gradients_of_an_activation_are_those_of_lsq():
    """Against the formulas written out, value by value (arXiv:1902.08153, equation 3; arXiv:2004.09576, section 3.1)."""
    x = tf.linspace(-3.01, 6.0, 41)
    log_scale, shift = tf.zeros([]), tf.zeros([])
    scale, zero = tf.constant(0.02), tf.constant(60.0)
    weights = tf.linspace(1.0, 2.0, 41) / 100_000
    with tf.GradientTape() as tape:
        tape.watch([x, log_scale, shift])
        y = round_activation(x, log_scale, shift, scale, zero, (0, 255), False)
        total = tf.reduce_sum(y * weights)
    for_x, for_scale, for_shift = tape.gradient(total, [x, log_scale, shift])
    position, low, high = x.numpy() / np.float32(0.02), -60.0, 195.0
    inside = (position >= low) & (position <= high)
    slope = np.where(inside, np.rint(position) - position, np.where(position < low, low, high))
    norm = 1 / (41 * 255) ** 0.5
    assert np.array_equal(for_x, weights * inside)
    assert np.allclose(for_scale, (weights * slope).numpy().sum() * norm / 0.02, rtol=1e-3)
    assert np.allclose(for_shift, -(weights * ~inside).numpy().sum() * norm / (0.02 * 255), rtol=1e-3)
    assert np.array_equal(y, (np.clip(np.rint(position), low, high) * np.float32(0.02)).astype(np.float32))
    # Where it is off, values and gradients pass.
    with tf.GradientTape() as tape:
        tape.watch([x, log_scale])
        y = round_activation(x, log_scale, shift, scale, zero, (0, 255), False, tf.constant(False))
    assert np.array_equal(y, x) and not tape.gradient(y, log_scale).numpy().any()


@pytest.mark.parametrize("axes", [(2,), (0, 1)])
def test_gradients_of_a_weight_go_to_weight_scale_and_factor(axes):
    weight = tf.random.normal([5, 6, 3])
    shape = tuple(size if axis in axes else 1 for axis, size in enumerate(weight.shape))
    channels = int(np.prod(shape))
    scale, factor, log_scale = tf.fill([channels], 0.1), tf.linspace(-1.0, 2.0, channels), tf.zeros([channels])
    upstream = tf.random.normal(weight.shape) / 10_000
    with tf.GradientTape() as tape:
        tape.watch([weight, log_scale, factor])
        total = tf.reduce_sum(round_weight(weight, log_scale, factor, scale, 7, shape) * upstream)
    for_weight, for_scale, for_factor = tape.gradient(total, [weight, log_scale, factor])
    position = weight.numpy() / np.float32(0.1)
    integers, inside = np.clip(np.rint(position), -7, 7), np.abs(position) <= 7
    others = tuple(axis for axis in range(3) if axis not in axes)
    stretched = upstream.numpy() * factor.numpy().reshape(shape)
    assert np.allclose(for_weight, stretched * inside, atol=1e-8)
    assert np.allclose(for_factor, (upstream.numpy() * integers).sum(others).ravel() * 0.1, atol=1e-7)
    norm = 1 / (weight.numpy().size / channels * 7) ** 0.5
    expected = (stretched * np.where(inside, integers - position, integers)).sum(others).ravel() / 0.1 * norm
    assert np.allclose(for_scale, expected, atol=1e-6)


@pytest.mark.parametrize(("method", "steps"), [("lsq", 300), ("pact", 40), ("ema", 40)])
def test_a_mobile_network_trains_stably(method, steps):
    """Depthwise layers, hard-swish, squeeze and excitation: the loss ends below that of calibration and stays finite."""
    x, y = task(size=16)
    model = networks.mobile(size=16, blocks=1)
    fit(model, x, y, 40, tf.keras.optimizers.Adam(3e-3))
    quantized = plugin.prepare(model, "x:1,16,16,3", "Quant_INT8-4", quantizer=method)
    plugin.calibrate(quantized, np.split(x, 4))
    before = loss_of(quantized, x, y)
    losses = fit(quantized, x, y, steps, tf.keras.optimizers.Adam(1e-3))
    assert np.isfinite(losses).all() and max(losses[60:], default=0) < 2 * before + 0.5
    assert loss_of(quantized, x, y) < before
    plugin.reestimate(quantized, np.split(x, 4))
    assert loss_of(quantized, x, y) < before


def test_a_custom_loop_trains_scales_and_what_it_trained_is_exported(tmp_path):
    from dopt.tf.check import compare

    x, y = task(16, 16)
    quantized = plugin.prepare(networks.lively(networks.tiny()), "x:1,16,16,3", batch_norm_warm_up=2)
    plugin.calibrate(quantized, [x])
    before = [variable.numpy() for variable in quantized.trainable_variables]
    optimizer = tf.keras.optimizers.SGD(0.05)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = LOSS(y, quantized(x, training=True))
        gradients = tape.gradient(loss, quantized.trainable_variables)
        optimizer.apply_gradients(zip(gradients, quantized.trainable_variables))
        return loss

    norm = quantized.get_layer("stem_bn")
    means = []
    for _ in range(5):
        step(x, y)
        means.append(norm.moving_mean.numpy())
    # Statistics follow the batches for two steps, then they are frozen.
    assert not np.array_equal(means[0], means[1]) and np.array_equal(means[1], means[4])
    moved = [not np.array_equal(a, b) for a, b in zip(before, quantized.trainable_variables)]
    assert np.mean(moved) > 0.9
    # In training, frozen, the network computes what it computes in evaluation.
    assert np.allclose(quantized(x, training=True), quantized(x, training=False), atol=2e-4)
    written = plugin.convert(quantized, str(tmp_path))
    found = compare(quantized, written.quantized, written.places, [(each[None],) for each in x])
    assert found.beyond_ties == 0 and found.decisions == found.samples
    plugin.reestimate(quantized, np.split(x, 2))
    assert not np.array_equal(norm.moving_mean, means[4])


def test_training_without_calibration_takes_ranges_from_the_first_batch():
    x, y = task(16, 16)
    quantized = plugin.prepare(networks.tiny(), "x:1,16,16,3")
    with pytest.warns(UserWarning, match="no range yet"):
        quantized(x, training=False)
    fit(quantized, x, y, 2, tf.keras.optimizers.SGD(0.01))
    assert all(float(each.scale0.numpy()) > 0 for each in quantizers_of(quantized))


def test_checkpoints(tmp_path):
    x, y = task(16, 16)
    model = networks.lively(networks.tiny())
    quantized, again, third = (plugin.prepare(model, "x:1,16,16,3") for _ in range(3))
    plugin.calibrate(quantized, [x])
    fit(quantized, x, y, 2, tf.keras.optimizers.SGD(0.01))
    expected = quantized(x, training=False).numpy()
    quantized.save_weights(str(tmp_path / "net.h5"))
    again.load_weights(str(tmp_path / "net.h5"))
    saved = tf.train.Checkpoint(model=quantized).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(model=third).restore(saved).assert_existing_objects_matched()
    assert np.array_equal(again(x, training=False), expected) and np.array_equal(third(x, training=False), expected)


def test_two_devices_train_one_network(tmp_path):
    x, y = task(32, 16)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        quantized = plugin.prepare(networks.tiny(), "x:1,16,16,3", batch_norm_warm_up=1)
        plugin.calibrate(quantized, [x])
        losses = fit(quantized, x, y, 6, tf.keras.optimizers.SGD(0.05), 16)
    assert np.isfinite(losses).all()
    for variable in quantized.trainable_variables:
        first, second = (each.numpy() for each in variable.values)
        assert np.array_equal(first, second), variable.name
    assert plugin.convert(quantized, str(tmp_path)).frozen


def test_mixed_precision_keeps_float32_scales():
    x, y = task(16, 16)
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = networks.residual()
        assert model.get_layer("conv1").compute_dtype == "float16"
        quantized = plugin.prepare(model, "x:1,16,16,3")
        x = np.random.default_rng(0).random([4, 16, 16, 3], "f")
        plugin.calibrate(quantized, [x])
        plugin.add_distillation_loss(quantized)
        losses = fit(quantized, x, np.arange(4), 3, tf.keras.optimizers.SGD(0.01), 4)
        assert isinstance(quantized.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    assert np.isfinite(losses).all()
    assert all(variable.dtype == tf.float32 for layer in layers_in(quantized) for variable in layer.variables)
