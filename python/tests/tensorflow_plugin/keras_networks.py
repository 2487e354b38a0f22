"""Keras networks whose programs are written as people write them."""

import numpy as np
import tensorflow as tf
from tensorflow.keras import layers as L


def lively(model):
    """Statistics and weights of batch normalizations that are not those of a fresh one; one gamma is negative, one 0."""
    rng = np.random.default_rng(1)
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, L.BatchNormalization):
            size = layer.moving_mean.shape[0]
            layer.moving_mean.assign(rng.normal(0, 0.3, size))
            layer.moving_variance.assign(rng.uniform(0.5, 2, size))
            gamma = rng.uniform(0.5, 1.5, size)
            gamma[0] *= -1
            gamma[-1] = 0
            layer.gamma.assign(gamma)
            layer.beta.assign(rng.normal(0, 0.3, size))
        elif getattr(layer, "bias", None) is not None and layer.built:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
    return model


def residual():
    """Functions, a sum, a concatenation, a layer used twice, a transposed convolution, pooling, a nested model."""
    x = inputs = tf.keras.Input([16, 16, 3], name="x")
    x = L.ReLU()(L.BatchNormalization(name="bn1")(L.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(x)))
    conv2 = L.Conv2D(8, 3, padding="same", name="conv2")
    y = conv2(x) + x
    y = tf.nn.relu6(conv2(y))
    y = L.Concatenate()([L.MaxPooling2D()(x), L.AveragePooling2D()(y)])
    y = L.Conv2DTranspose(4, 2, 2, name="up")(y)
    y = L.Dropout(0.1)(L.BatchNormalization(name="bn2")(y))
    head = tf.keras.Sequential([tf.keras.Input([4]), L.Dense(6, "sigmoid", name="a"), L.Dense(5, name="b")], "head")
    return tf.keras.Model(inputs, head(L.GlobalAveragePooling2D()(y)), name="residual")


def mobile(classes=4, size=32, blocks=2):
    """Depthwise layers, hard-swish, squeeze and excitation, as in MobileNetV3; a separable convolution."""

    def hard_sigmoid(x):
        return tf.nn.relu6(x + 3.0) * (1.0 / 6.0)

    def hard_swish(x):
        return x * hard_sigmoid(x)

    def block(x, width, inner, name):
        y = L.Conv2D(inner, 1, use_bias=False, name=f"{name}_expand")(x)
        y = hard_swish(L.BatchNormalization(name=f"{name}_expand_bn")(y))
        y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(y)
        y = hard_swish(L.BatchNormalization(name=f"{name}_depthwise_bn")(y))
        gate = L.GlobalAveragePooling2D(keepdims=True)(y)
        gate = L.Conv2D(8, 1, activation="relu", name=f"{name}_squeeze")(gate)
        y = y * hard_sigmoid(L.Conv2D(inner, 1, name=f"{name}_excite")(gate))
        y = L.Conv2D(width, 1, use_bias=False, name=f"{name}_project")(y)
        return x + L.BatchNormalization(name=f"{name}_project_bn")(y)

    x = inputs = tf.keras.Input([size, size, 3], name="x")
    x = L.Conv2D(8, 3, 2, "same", use_bias=False, name="stem")(x)
    x = hard_swish(L.BatchNormalization(name="stem_bn")(x))
    for index in range(blocks):
        x = block(x, 8, 24, f"b{index}")
    x = hard_swish(L.BatchNormalization(name="head_bn")(L.SeparableConv2D(32, 3, use_bias=False, name="head")(x)))
    return tf.keras.Model(inputs, L.Dense(classes, name="classifier")(L.GlobalAveragePooling2D()(x)), name="mobile")


def tiny(size=16, classes=4):
    """For tests whose matter is not the network."""
    x = inputs = tf.keras.Input([size, size, 3], name="x")
    x = L.ReLU()(L.BatchNormalization(name="stem_bn")(L.Conv2D(6, 3, 2, use_bias=False, name="stem")(x)))
    x = L.ReLU()(L.BatchNormalization()(L.DepthwiseConv2D(3, name="depthwise")(x)))
    return tf.keras.Model(inputs, L.Dense(classes, name="fc")(L.GlobalAveragePooling2D()(x)), name="tiny")


class Block(L.Layer):
    """A layer of layers, with a function between."""

    def __init__(self, width, **more):
        super().__init__(**more)
        self.conv = L.Conv2D(width, 3, padding="same", use_bias=False, name="conv")
        self.bn = L.BatchNormalization(name="bn")

    def call(self, x, training=None):
        return tf.nn.relu(self.bn(self.conv(x), training=training)) + x


class Gate(L.Layer):
    """Its program depends on values."""

    def __init__(self, **more):
        super().__init__(**more)
        self.conv = L.Conv2D(8, 3, name="conv")

    def build(self, shape):
        self.conv.build(shape)
        super().build(shape)

    def call(self, x):
        y = self.conv(x)
        if tf.reduce_mean(tf.abs(x)) > 1e6:
            y = y * 2.0
        return y


class Subclassed(tf.keras.Model):
    """A model written as a class, with blocks of its own, one of which cannot be captured."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.first = L.Conv2D(8, 3, name="first")
        self.block = Block(8, name="block")
        self.gate = Gate(name="gate")
        self.flatten = L.Flatten()
        self.fc = L.Dense(3, name="fc")

    def call(self, x, training=None):
        x = self.block(self.first(x), training=training)
        return self.fc(self.flatten(tf.reduce_mean(self.gate(x), [1, 2], keepdims=True)))


def subclassed():
    model = Subclassed()
    model(tf.zeros([1, 12, 12, 3]))
    return model


def sequences():
    """Dense layers along an axis, a one-dimensional convolution, products of activations."""
    x = inputs = tf.keras.Input([7, 6], name="x")
    x = L.ReLU()(L.BatchNormalization()(L.Conv1D(8, 3, padding="same", name="conv")(x)))
    q, k, v = (L.Dense(8, name=name)(x) for name in "qkv")
    y = tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True)), v)
    return tf.keras.Model(inputs, L.Dense(3, name="out")(x + y), name="sequences")


NETWORKS = {
    "residual": (residual, "x:1,16,16,3"),
    "mobile": (mobile, "x:1,32,32,3"),
    "subclassed": (subclassed, "x:1,12,12,3"),
    "sequences": (sequences, "x:1,7,6"),
}


def network(name):
    make, shapes = NETWORKS[name]
    return lively(make()), shapes


def samples(shapes, count=6):
    shape = [int(size) for size in shapes.split(":")[1].split(",")]
    return [np.random.standard_normal(shape).astype(np.float32) for _ in range(count)]
