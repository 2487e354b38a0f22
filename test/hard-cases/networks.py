"""Writes ten small networks that plain 8-bit quantization destroys, each with its samples: networks.py FOLDER.

Every network computes something well-behaved in an unlucky form: where a channel is made a hundred times larger, what
reads it makes up for that, and where an offset is added, it is taken out again behind. A float model cannot tell.
"""

import os
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

SAMPLES, SIZE, CHANNELS = 48, 12, 16


class Network:
    """One network under construction; every method returns the name of a tensor."""

    def __init__(self, seed):
        self.random = np.random.RandomState(seed)
        self.nodes, self.constants, self.shapes = [], {}, {}

    def input(self, name, *shape):
        self.shapes[name] = [1, *shape]
        return name

    def constant(self, name, values):
        self.constants[name] = np.asarray(values, dtype=np.float32)
        return name

    def node(self, op, inputs, name, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], f"{op}_{name}", **attributes))
        return name

    def weights(self, outputs, inputs, kernel=1):
        return self.random.normal(0, 1 / np.sqrt(inputs * kernel**2), (outputs, inputs, kernel, kernel))

    def conv(self, source, name, weight, bias=None, **attributes):
        if isinstance(weight, str):
            operands, kernel = [source, weight], self.constants[weight].shape[2]
        else:
            operands, kernel = [source, self.constant(f"{name}.weight", weight)], weight.shape[2]
        bias = self.random.normal(0, 0.1, self.constants[operands[1]].shape[0]) if bias is None else bias
        operands.append(self.constant(f"{name}.bias", bias))
        return self.node("Conv", operands, name, pads=[kernel // 2] * 4, **attributes)

    def relu(self, source):
        return self.node("Relu", [source], f"{source}.relu")

    def silu(self, source):
        return self.node("Mul", [source, self.node("Sigmoid", [source], f"{source}.sigmoid")], f"{source}.silu")

    def save(self, folder, outputs, data=None):
        """``data``: arrays by sample for the one input; normal noise by default. ``outputs``: shapes by name."""
        os.makedirs(os.path.join(folder, "data"))
        inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in self.shapes.items()]
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()]
        initializers = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, "hard", inputs, ends, initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
        save(model, os.path.join(folder, "model.onnx"))
        [(name, shape)] = self.shapes.items()
        data = self.random.normal(0, 1, (SAMPLES, *shape)) if data is None else data
        for index, sample in enumerate(data):
            np.save(os.path.join(folder, "data", f"{index:02}.npy"), sample.astype(np.float32))


def image(channels=CHANNELS):
    return [1, channels, SIZE, SIZE]


def outlier_channel(folder):
    """One channel between two convolutions is a hundred times larger than the others."""
    net = Network(1)
    gains = np.where(np.arange(CHANNELS) == 3, 100, 1)[:, None, None, None]
    first = net.weights(CHANNELS, 3, 3) * gains
    x = net.relu(net.conv(net.input("x", 3, SIZE, SIZE), "first", first))
    net.conv(x, "y", net.weights(8, CHANNELS) / gains[:, 0][None])
    net.save(folder, {"y": image(8)})


def shifted_bias(folder):
    """Half of the channels vary by 1 around 200, the rest around 0; what follows takes the offset out."""
    net = Network(2)
    offsets = np.where(np.arange(CHANNELS) % 2, 200, 0)
    x = net.relu(net.conv(net.input("x", 3, SIZE, SIZE), "first", net.weights(CHANNELS, 3, 3), offsets))
    weight = net.weights(8, CHANNELS)
    net.conv(x, "y", weight, -weight[:, :, 0, 0] @ offsets)
    net.save(folder, {"y": image(8)})


def dead_channel(folder):
    """A channel that is always zero, and huge weights that read it: training never had a reason to shrink them."""
    net = Network(3)
    bias = np.where(np.arange(CHANNELS) == 5, -1000, 0)
    x = net.relu(net.conv(net.input("x", 3, SIZE, SIZE), "first", net.weights(CHANNELS, 3, 3), bias))
    weight = net.weights(8, CHANNELS)
    weight[:, 5] *= 2000
    net.conv(x, "y", weight)
    net.save(folder, {"y": image(8)})


def unlike_concat(folder):
    """Scores within 1 and boxes up to some hundreds are joined; the scores are read elsewhere, too."""
    net = Network(4)
    x = net.input("x", 3, SIZE, SIZE)
    scores = net.node("Tanh", [net.conv(x, "score", net.weights(8, 3, 3))], "scores")
    scores = net.node("Mul", [scores, net.node("Sigmoid", [scores], "sure")], "sure.scores")
    boxes = net.silu(net.conv(x, "box", net.weights(8, 3, 3) * 300))
    net.conv(net.node("Concat", [scores, boxes], "joined", axis=1), "boxes", net.weights(4, 16))
    net.conv(scores, "classes", net.weights(8, 8, 3))
    net.save(folder, {"boxes": image(4), "classes": image(8)})


def silu_tail(folder):
    """A SiLU of which only the tiny negative part is used, beside channels that it turns into zeros from far below."""
    net = Network(5)
    silent = np.arange(CHANNELS) % 2
    first = net.weights(CHANNELS, 3, 3) * np.where(silent, 50, 1)[:, None, None, None]
    x = net.conv(net.input("x", 3, SIZE, SIZE), "first", first, np.where(silent, -300, -1.5))
    net.conv(net.silu(x), "y", net.weights(8, CHANNELS))
    net.save(folder, {"y": image(8)})


def se_gate(folder):
    """An outlier channel that a squeeze-and-excitation block pools, and gates."""
    net = Network(6)
    gains = np.where(np.arange(CHANNELS) == 7, 100, 1)[:, None, None, None]
    x = net.relu(net.conv(net.input("x", 3, SIZE, SIZE), "first", net.weights(CHANNELS, 3, 3) * gains))
    pooled = net.node("GlobalAveragePool", [x], "pooled")
    squeezed = net.relu(net.conv(pooled, "squeeze", net.weights(8, CHANNELS) / gains[:, 0][None]))
    gate = net.node("Sigmoid", [net.conv(squeezed, "excite", net.weights(CHANNELS, 8))], "gate")
    net.conv(net.node("Mul", [x, gate], "gated"), "y", net.weights(8, CHANNELS) / gains[:, 0][None])
    net.save(folder, {"y": image(8)})


def sink_token(folder):
    """The first token is huge in two dimensions, which the gain of a layer normalization stresses."""
    net, tokens, width = Network(7), 16, 32
    loud = np.isin(np.arange(width), (4, 20))
    gain = np.where(loud, 40, 1)
    x = net.input("x", tokens, width)
    centred = net.node("Sub", [x, net.node("ReduceMean", [x], "mean", axes=[-1])], "centred")
    squares = net.node("Pow", [centred, net.constant("two", 2)], "squares")
    variance = net.node("ReduceMean", [squares], "variance", axes=[-1])
    deviation = net.node("Sqrt", [net.node("Add", [variance, net.constant("epsilon", 1e-5)], "safe")], "deviation")
    scaled = net.node("Mul", [net.node("Div", [centred, deviation], "unit"), net.constant("gamma", gain)], "stressed")
    normal = net.node("Add", [scaled, net.constant("beta", net.random.normal(0, 0.1, width))], "normal")

    def project(source, name):
        weight = net.random.normal(0, 1 / np.sqrt(width), (width, width)) / (gain[:, None] if source == normal else 1)
        return net.node("MatMul", [source, net.constant(f"{name}.weight", weight)], name)

    query, key, value = (project(normal, name) for name in ("query", "key", "value"))
    scores = net.node("MatMul", [query, net.node("Transpose", [key], "turned", perm=[0, 2, 1])], "scores")
    attention = net.node("Softmax", [scores], "attention", axis=-1)
    project(net.node("MatMul", [attention, value], "mixed"), "y")
    data = net.random.normal(0, 1, (SAMPLES, 1, tokens, width))
    data[:, :, 0, loud] = net.random.uniform(500, 1000, (SAMPLES, 1, 2))
    net.save(folder, {"y": [1, tokens, width]}, data)


def depthwise_spread(folder):
    """Channels a hundred times apart behind a SiLU, read by a depthwise convolution that makes up for it."""
    net = Network(8)
    gains = np.logspace(-1, 1, CHANNELS)[:, None, None, None] * 3
    x = net.silu(net.conv(net.input("x", 3, SIZE, SIZE), "first", net.weights(CHANNELS, 3, 3) * gains))
    x = net.conv(x, "depthwise", net.weights(CHANNELS, 1, 3) / gains, group=CHANNELS)
    net.conv(x, "y", net.weights(8, CHANNELS))
    net.save(folder, {"y": image(8)})


def unlike_residual(folder):
    """A residual stream whose channels are a hundred times apart, with a branch that adds to all of them."""
    net = Network(9)
    gains = np.where(np.arange(CHANNELS) < 4, 100, 1)[:, None, None, None]
    across = gains[:, 0][None]
    x = net.conv(net.input("x", 3, SIZE, SIZE), "stem", net.weights(CHANNELS, 3, 3) * gains)
    branch = net.conv(net.relu(net.conv(x, "narrow", net.weights(8, CHANNELS) / across)), "wide", net.weights(CHANNELS, 8) * gains)
    net.conv(net.relu(net.node("Add", [x, branch], "sum")), "y", net.weights(8, CHANNELS, 3) / across)
    net.save(folder, {"y": image(8)})


def shared_weights(folder):
    """Two branches end in one head, as detectors share theirs over scales; a channel of both is an outlier."""
    net = Network(10)
    x = net.input("x", 3, SIZE, SIZE)
    gains = np.where(np.arange(CHANNELS) == 2, 100, 1)[:, None, None, None]
    head = net.constant("head", net.weights(8, CHANNELS, 3) / gains[:, 0][None])
    for name, scale in (("near", 1), ("far", 2)):
        inner = net.relu(net.conv(x, name, net.weights(CHANNELS, 3, 3) * gains * scale))
        net.conv(inner, f"{name}.y", head)
    net.save(folder, {"near.y": image(8), "far.y": image(8)})


CASES = [
    outlier_channel, shifted_bias, dead_channel, unlike_concat, silu_tail,
    se_gate, sink_token, depthwise_spread, unlike_residual, shared_weights,
]  # fmt: skip

for case in CASES:
    case(os.path.join(sys.argv[1], case.__name__))
