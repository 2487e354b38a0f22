"""Write-back of layers: graphs in code, quantized, written, and run in TensorFlow against QDQ ONNX in onnxruntime."""

import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow (profile tensorflow)")
pytest.importorskip("tf2onnx", reason="needs tf2onnx (profile tensorflow)")

import tensorflow as tf  # noqa: E402
from write_back_graphs import LAYERS, SHAPE, Case, Quantized, constant, randomize, sequential  # noqa: E402

keras = tf.keras


def conv_bn_relu():
    return sequential(keras.layers.Conv2D(8, 3, padding="same"), keras.layers.BatchNormalization(), keras.layers.ReLU())


def depthwise():
    return sequential(
        keras.layers.Conv2D(4, 3),
        keras.layers.ReLU(6.0),
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, padding="same"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(6.0),
    )


def separable():
    return sequential(
        keras.layers.SeparableConv2D(6, 3, strides=2, padding="same"),
        keras.layers.BatchNormalization(scale=False),
        keras.layers.ReLU(),
        keras.layers.MaxPool2D(),
    )


def dense_after_flatten():
    return sequential(
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(9, activation="relu"),
        keras.layers.Dense(7),
        keras.layers.Dense(5, use_bias=False),
    )


def dense_over_time():
    return sequential(keras.layers.Reshape((12, 30)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(4))


def biases_of_zeros():
    layers = [keras.layers.Conv2D(6, 3), keras.layers.ReLU(), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5)]
    model = keras.Sequential([keras.Input(SHAPE[1:]), *layers])
    return lambda x: model(x, training=False)


def residual():
    first, second = constant(3, 3, 3, 6), constant(1, 1, 6, 6, seed=1)

    def build(x):
        shared = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, first, 1, "SAME"), constant(6, seed=2)))
        branch = tf.nn.conv2d(shared, second, 1, "SAME") + constant(6, seed=3)
        return tf.nn.relu(shared + branch)

    return build


def keras_v2():
    """Batch normalization in the primitives that Keras wrote before it used FusedBatchNorm everywhere."""

    def build(x):
        for count in (6, 4):
            x = tf.nn.bias_add(tf.nn.conv2d(x, constant(3, 3, x.shape[-1], count), 1, "VALID"), constant(count, seed=1))
            scale, offset = constant(count, seed=2, low=0.5), constant(count, seed=3)
            mean, variance = constant(count, seed=4), constant(count, seed=5, low=0.5)
            x = tf.nn.relu(tf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-3))
        return x

    return build


def conv_transpose():
    return sequential(
        keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        keras.layers.Conv2DTranspose(5, 4, strides=2, padding="same"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
    )


def shared_weights():
    kernel = tf.Variable(constant(3, 3, 3, 3))

    def build(x):
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), constant(3, seed=1)))
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), constant(3, seed=2))

    return build


def conv_1d():
    return sequential(
        keras.layers.Reshape((12, 30)),
        keras.layers.Conv1D(8, 3, padding="same"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Conv1D(4, 3, use_bias=False),
    )


def swish_and_prelu():
    """A swish of Keras hands its result through IdentityN; the PReLU becomes one operator."""
    return sequential(
        keras.layers.Conv2D(4, 3, activation="swish"),
        keras.layers.DepthwiseConv2D(3, activation="swish"),
        keras.layers.Conv2D(4, 3),
        keras.layers.PReLU(shared_axes=[1, 2]),
        keras.layers.Conv2D(4, 1),
    )


def masked_prelu():
    """PReLU by masks, which keeps the converter's transposes around it."""

    def build(x):
        for count in (6, 4):
            x = tf.nn.bias_add(tf.nn.conv2d(x, constant(3, 3, x.shape[-1], count), 1, "SAME"), constant(count, seed=1))
            above = tf.greater(x, 0.0)
            below = tf.cast(tf.logical_not(above), tf.float32)
            x = x * tf.cast(above, tf.float32) + constant(count, seed=2) * (x * below)
        return tf.nn.conv2d(x, constant(1, 1, 4, 4), 1, "SAME")

    return build


def hard_swish():
    def build(x):
        for count in (6, 4):
            x = tf.nn.bias_add(tf.nn.conv2d(x, constant(3, 3, x.shape[-1], count), 1, "SAME"), constant(count, seed=1))
            x = x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)
        return tf.nn.conv2d(x, constant(1, 1, 4, 4), 1, "SAME")

    return build


def attention():
    """Keras' attention: products by Einsum whose weights and biases have axes for heads."""
    x = keras.Input(SHAPE[1:])
    y = keras.layers.Dense(8)(keras.layers.Reshape((12, 30))(x))
    y = keras.layers.Add()([y, keras.layers.MultiHeadAttention(2, 4)(y, y)])
    model = randomize(keras.Model(x, keras.layers.Dense(5)(keras.layers.LayerNormalization()(y))))
    return lambda x: model(x, training=False)


def dilated_in_batches():
    """Dilation as TensorFlow 1 wrote it."""

    def build(x):
        x = tf.space_to_batch_nd(x, [2, 2], [[2, 2], [2, 2]])
        x = tf.nn.conv2d(x, constant(3, 3, 3, 6), 1, "VALID")
        return tf.nn.relu(tf.nn.bias_add(tf.batch_to_space(x, [2, 2], [[0, 0], [0, 0]]), constant(6, seed=1)))

    return build


def padded():
    """Explicit padding that the converter takes into the convolution, read by two of them."""

    def build(x):
        wide = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        left = tf.nn.conv2d(wide, constant(3, 3, 3, 4), 2, "VALID")
        right = tf.nn.conv2d(wide, constant(3, 3, 3, 4, seed=1), 2, "VALID")
        return tf.concat([tf.nn.relu(left), tf.nn.relu6(right)], -1)

    return build


def bare():
    """Neither bias nor normalization: the convolution's own name is read."""
    return lambda x: tf.nn.conv2d(tf.nn.relu(tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME")), constant(1, 1, 4, 2), 1, "SAME")


GRAPHS = {
    build.__name__: build
    for build in (
        conv_bn_relu, depthwise, separable, dense_after_flatten, dense_over_time, biases_of_zeros, residual, keras_v2, conv_transpose,
        shared_weights, conv_1d, dilated_in_batches, padded, bare, swish_and_prelu, masked_prelu, hard_swish, attention,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_weights_on_the_grid(name, tmp_path):
    case = Case(GRAPHS[name](), tmp_path, readers=())
    assert case.quantized.plan["layers"]
    graph, _, unmapped = case.write(False)
    agreeing, worst = case.compare(graph)
    assert unmapped == []
    assert agreeing == 1.0, worst
    # The float graph is far away: the comparison would see it if nothing had been written.
    assert case.compare(case.graph)[1] > 1e-3


#: TensorFlow's own folding regroups the factors of a hard-swish, so what lies inside it has no place in the graph.
READERS = {"hard_swish": LAYERS}


@pytest.mark.parametrize("name", GRAPHS)
def test_rounded_activations(name, tmp_path):
    case = Case(GRAPHS[name](), tmp_path, readers=READERS.get(name, Quantized.READERS))
    graph, _, unmapped = case.write(True)
    assert unmapped == []
    agreeing, worst = case.compare(graph)
    # Sums in another order move single values to the neighbouring step of the grid.
    assert agreeing > 0.99 and worst < 0.02
    assert case.compare(case.write(False)[0])[0] < 0.9
