"""The blocks that a searched network is made of, in TensorFlow (Keras).

A layer is a dict: ``block``, ``in``, ``out`` (channels), ``stride``, ``kernel``, ``hidden`` (channels inside the block),
``squeeze`` (channels of squeeze-and-excitation, 0 for none). Maps are batch, height, width, channels: where the fixed parts
have channels first, their maps are turned, and a converter takes both turns out. This file imports
nothing but tensorflow: it is written into every result, so that a result runs alone.
"""

import tensorflow as tf


class Conv(tf.keras.layers.Layer):
    """A convolution with its normalization, and ReLU behind it unless told otherwise."""

    def __init__(self, channels, kernel, stride=1, depthwise=False, relu=True):
        super().__init__()
        if depthwise:
            self.conv = tf.keras.layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False)
        else:
            self.conv = tf.keras.layers.Conv2D(channels, kernel, stride, "same", use_bias=False)
        self.norm = tf.keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
        self.relu = relu

    def call(self, inputs, training=None):
        outputs = self.norm(self.conv(inputs), training=training)
        return tf.nn.relu(outputs) if self.relu else outputs


class SqueezeExcite(tf.keras.layers.Layer):
    """Weighs channels by what all pixels say (Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018)."""

    def __init__(self, channels, squeeze):
        super().__init__()
        self.reduce = tf.keras.layers.Conv2D(squeeze, 1, activation="relu")
        self.expand = tf.keras.layers.Conv2D(channels, 1, activation="sigmoid")

    def call(self, inputs, training=None):
        return inputs * self.expand(self.reduce(tf.reduce_mean(inputs, (1, 2), keepdims=True)))


class Layer(tf.keras.layers.Layer):
    """One layer of a searched network; the map stays as large as it is, or halves where the stride is 2."""

    def __init__(self, layer):
        super().__init__()
        block, kernel, stride = layer["block"], layer["kernel"], layer["stride"]
        before, hidden, after = layer["in"], layer["hidden"], layer["out"]
        self.relu = block in ("residual", "bottleneck")
        self.straight = block not in ("skip", "conv") and stride == 1 and before == after
        self.shortcut = Conv(after, 1, stride, relu=False) if self.relu and not self.straight else None
        if block == "skip":
            self.parts = []
        elif block == "conv":
            self.parts = [Conv(after, kernel, stride)]
        elif block == "residual":
            self.parts = [Conv(hidden, kernel, stride), Conv(after, kernel, relu=False)]
        elif block == "bottleneck":
            self.parts = [Conv(hidden, 1), Conv(hidden, kernel, stride), Conv(after, 1, relu=False)]
        elif block == "mbconv":
            squeeze = [SqueezeExcite(hidden, layer["squeeze"])] if layer["squeeze"] else []
            deep = Conv(hidden, kernel, stride, depthwise=True)
            self.parts = [Conv(hidden, 1), deep, *squeeze, Conv(after, 1, relu=False)]
        elif block == "fused":
            self.parts = [Conv(hidden, kernel, stride), Conv(after, 1, relu=False)]
        else:
            raise ValueError(f"no block is called {block!r}")

    def call(self, inputs, training=None):
        outputs = inputs
        for part in self.parts:
            outputs = part(outputs, training=training)
        if self.straight:
            outputs = outputs + inputs
        elif self.shortcut is not None:
            outputs = outputs + self.shortcut(inputs, training=training)
        return tf.nn.relu(outputs) if self.relu else outputs


class FromChannelsFirst(tf.keras.Model):
    """A beginning whose map has channels first."""

    def __init__(self, fixed):
        super().__init__()
        self.fixed = fixed

    def call(self, inputs, training=None):
        return tf.transpose(self.fixed(inputs, training=training), (0, 2, 3, 1))


class ToChannelsFirst(tf.keras.Model):
    """An end that reads maps with channels first, one or a list of them."""

    def __init__(self, fixed):
        super().__init__()
        self.fixed = fixed

    def call(self, inputs, training=None):
        maps = tf.nest.map_structure(lambda each: tf.transpose(each, (0, 3, 1, 2)), inputs)
        return self.fixed(maps, training=training)


class Network(tf.keras.Model):
    """The fixed beginning, the searched layers, and the fixed end, which may read results of chosen layers too."""

    def __init__(self, pre_net, layers, post_net, features=()):
        super().__init__()
        self.pre_net = pre_net
        self.searched = [Layer(layer) for layer in layers]
        self.post_net = post_net
        self.features = tuple(features)

    def call(self, inputs, training=None):
        return self.observed(inputs, training)[1]

    def observed(self, inputs, training=None):
        """What comes out of each layer, and the outputs."""
        maps = [self.pre_net(inputs, training=training)]
        for layer in self.searched:
            maps.append(layer(maps[-1], training=training))
        chosen = [maps[index + 1] for index in self.features]
        return maps[1:], self.post_net([*chosen, maps[-1]] if self.features else maps[-1], training=training)
