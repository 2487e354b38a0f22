"""What is captured of ordinary models, what stays float and is named, and that capturing changes no result."""

import keras_networks as networks
import numpy as np
import pytest
import tensorflow as tf

import dopt.tf as plugin
from dopt.plugin.numbers import FloatLayer
from dopt.tf.network import layers_in, mode, rounded_in

BLOCKS = [f"b{n}_{part}" for n in (0, 1) for part in ("expand", "depthwise", "squeeze", "excite", "project")]
CASES = {
    "residual": ({"conv1", "conv2", "up", "head/a", "head/b"}, {"conv1", "up"}),
    "mobile": (
        {"stem", "head/depthwise", "head/pointwise", "classifier", *BLOCKS},
        {"stem", "head/pointwise", *(name for name in BLOCKS if name[3:] not in ("squeeze", "excite"))},
    ),
    "subclassed": ({"first", "block/conv", "fc"}, {"block/conv"}),
    "sequences": ({"conv", "q", "k", "v", "out"}, {"conv"}),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_folds_and_results_without_rounding(name):
    model, shapes = networks.network(name)
    quantized = plugin.prepare(model, shapes)
    layers, folded = CASES[name]
    assert {layer.path for layer in layers_in(quantized)} == layers
    assert {layer.path for layer in layers_in(quantized) if layer.norm is not None} == folded
    x = networks.samples(shapes, 1)[0]
    with mode(quantized, "off"):
        assert np.allclose(quantized(x, training=False), model(x, training=False), atol=2e-5)


def test_what_cannot_be_captured_is_named_with_the_reason():
    found = plugin.layers(plugin.prepare(*networks.network("subclassed")))
    assert isinstance(found["gate"], FloatLayer) and "cannot be captured" in found["gate"].reason
    model = tf.keras.Sequential([tf.keras.Input([5, 4]), tf.keras.layers.LSTM(3, name="memory"), tf.keras.layers.Dense(2, name="fc")])
    found = plugin.layers(plugin.prepare(model, "x:1,5,4"))
    assert found["memory"].reason.startswith("no quantized form") and found["fc"] == "int8-8"


def test_products_and_shared_tensors():
    quantized = plugin.prepare(*networks.network("sequences"))
    found = plugin.layers(quantized)
    assert sum(kind == "product" for kind in found.values()) == 2
    assert not any(isinstance(kind, FloatLayer) for kind in found.values())
    # q, k and v read one tensor, rounded once; the softmax sets its own range.
    assert len(rounded_in(quantized)) == 1 + 1 + 4 + 1
    assert [each.quantizer.fixed for each in rounded_in(quantized) if each.quantizer.fixed] == [(0.0, 1.0)]


def test_the_float_model_stays_as_it_was():
    model, shapes = networks.network("residual")
    before, output = model.get_weights(), model.get_layer("conv1").output
    quantized = plugin.prepare(model, shapes)
    for variable in quantized.trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    assert model.get_layer("conv1").output is output and len(model.get_layer("conv2")._inbound_nodes) == 2


class Modal(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.fc, self.more = (tf.keras.layers.Dense(4, name=name) for name in ("fc", "more"))

    def call(self, x, training=None):
        return self.more(self.fc(x)) if training else self.fc(x)


def test_a_program_that_differs_in_training_is_refused_as_a_whole():
    from dopt.errors import DoptError

    model = Modal()
    model(tf.zeros([1, 4]), training=True)
    with pytest.raises(DoptError, match="in training than in evaluation") as caught:
        plugin.prepare(model, "x:1,4")
    assert caught.value.code == "PLUGIN_CAPTURE" and caught.value.suggestions
