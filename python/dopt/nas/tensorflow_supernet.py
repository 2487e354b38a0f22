"""A network that holds the weights of all candidates at once, in TensorFlow.

Every kind of block of a layer has weights of the largest size; a candidate uses the first channels and the middle of the
windows (Cai et al., "Once-for-All", ICLR 2020, section 3.3; Yu, Huang, "Universally Slimmable Networks", ICCV 2019).
Networks change from step to step, so all of it runs eagerly.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import tensorflow as tf

from dopt.nas import tensorflow_blocks as blocks
from dopt.nas.supernet import loosened, sizes_of

EPSILON = 1e-5
_fused = tf.compat.v1.nn.fused_batch_norm


class Norm(tf.Module):
    """Batch normalization of the first channels; statistics are those of the batch, or what ``recalibrate`` has gathered."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = tf.Variable(tf.ones(channels))
        self.bias = tf.Variable(tf.zeros(channels))
        self.mean = tf.Variable(tf.zeros(channels), trainable=False)
        self.variance = tf.Variable(tf.ones(channels), trainable=False)
        #: Share that a batch has in the statistics while they are gathered; None while nothing is.
        self.share: Any = None

    def __call__(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        count = inputs.shape[-1]
        scale, offset = self.weight[:count], self.bias[:count]
        if not training:
            mean, variance = self.mean[:count], self.variance[:count]
            return _fused(inputs, scale, offset, mean, variance, epsilon=EPSILON, is_training=False)[0]
        outputs, mean, variance = _fused(inputs, scale, offset, epsilon=EPSILON)
        if self.share is not None:
            for kept, found in ((self.mean, mean), (self.variance, variance)):
                kept[:count].assign(kept[:count] + self.share * (found - kept[:count]))
        return outputs


class Conv(tf.Module):
    """A convolution whose output channels and window may be smaller than its weights, with its normalization."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, depthwise: bool = False) -> None:
        super().__init__()
        shape = (kernel, kernel, after, 1) if depthwise else (kernel, kernel, before, after)
        # He et al., "Delving deep into rectifiers", ICCV 2015, equation 14.
        spread = (2.0 / (kernel * kernel * (1 if depthwise else after))) ** 0.5
        self.weight = tf.Variable(tf.random.normal(shape, stddev=spread))
        self.stride, self.depthwise = stride, depthwise
        self.norm = Norm(after)

    def __call__(self, inputs: tf.Tensor, after: int, training: bool, kernel: int = 1, relu: bool = True) -> tf.Tensor:
        edge = (self.weight.shape[0] - kernel) // 2
        window = slice(edge, edge + kernel)
        strides = [1, self.stride, self.stride, 1]
        if self.depthwise:
            weight = self.weight[window, window, :after]
            outputs = tf.nn.depthwise_conv2d(inputs, weight, strides, "SAME")
        else:
            weight = self.weight[window, window, : inputs.shape[-1], :after]
            outputs = tf.nn.conv2d(inputs, weight, strides, "SAME")
        outputs = self.norm(outputs, training)
        return tf.nn.relu(outputs) if relu else outputs


class Dense(tf.Module):
    """A product over channels with a bias, of the first channels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        # Glorot, Bengio, AISTATS 2010, equation 16: what Keras takes in the network itself.
        limit = (6.0 / (before + after)) ** 0.5
        self.weight = tf.Variable(tf.random.uniform((before, after), -limit, limit))
        self.bias = tf.Variable(tf.zeros(after))

    def __call__(self, inputs: tf.Tensor, after: int) -> tf.Tensor:
        return tf.tensordot(inputs, self.weight[: inputs.shape[-1], :after], 1) + self.bias[:after]


class SharedLayer(tf.Module):
    """All blocks that one layer may be; ``largest`` has for each kind of block the layer with the most channels."""

    def __init__(self, largest: Dict[str, Dict[str, Any]]) -> None:
        super().__init__()
        self.blocks = {block: _parts(layer) for block, layer in largest.items() if block != "skip"}

    def __call__(self, inputs: tf.Tensor, layer: Dict[str, Any], training: bool) -> tf.Tensor:
        block, kernel, hidden, after = layer["block"], layer["kernel"], layer["hidden"], layer["out"]
        if block == "skip":
            return inputs
        parts = self.blocks[block]
        straight = layer["stride"] == 1 and inputs.shape[-1] == after
        if block == "conv":
            return parts["first"](inputs, after, training, kernel)
        if block == "residual":
            outputs = parts["first"](inputs, hidden, training, kernel)
            outputs = parts["last"](outputs, after, training, kernel, relu=False)
        elif block == "fused":
            outputs = parts["first"](inputs, hidden, training, kernel)
            outputs = parts["last"](outputs, after, training, relu=False)
        else:
            outputs = parts["middle"](parts["first"](inputs, hidden, training), hidden, training, kernel)
            if layer["squeeze"]:
                outputs = _excite(outputs, parts["reduce"], parts["expand"], layer["squeeze"])
            outputs = parts["last"](outputs, after, training, relu=False)
        if block in ("mbconv", "fused"):
            return outputs + inputs if straight else outputs
        return tf.nn.relu(outputs + (inputs if straight else parts["shortcut"](inputs, after, training, relu=False)))


def _parts(layer: Dict[str, Any]) -> Dict[str, tf.Module]:
    parts: Dict[str, tf.Module] = {name: Conv(*size) for name, size in sizes_of(layer).items()}
    if layer["block"] == "mbconv":
        parts["reduce"] = Dense(layer["hidden"], layer["squeeze"])
        parts["expand"] = Dense(layer["squeeze"], layer["hidden"])
    return parts


def _excite(inputs: tf.Tensor, reduce: Dense, expand: Dense, squeeze: int) -> tf.Tensor:
    pooled = tf.reduce_mean(inputs, (1, 2), keepdims=True)
    return inputs * tf.sigmoid(expand(tf.nn.relu(reduce(pooled, squeeze)), inputs.shape[-1]))


class Supernet(tf.Module):
    """The fixed parts of the user's with all candidates between them; ``active`` says which one computes."""

    def __init__(self, pre_net: Any, largest: Sequence[Dict[str, Dict[str, Any]]], post_net: Any,
                 features: Sequence[int] = ()) -> None:
        super().__init__()
        self.pre_net, self.post_net = pre_net, post_net
        self.shared = [SharedLayer(blocks) for blocks in largest]
        self.chosen = tuple(features)
        self.active: List[Dict[str, Any]] = []

    def __call__(self, inputs: tf.Tensor, training: bool = False) -> Any:
        return self.observed(inputs, training)[1]

    def observed(self, inputs: tf.Tensor, training: bool) -> Tuple[List[Optional[tf.Tensor]], Any]:
        """What comes out of each layer, None where the layer is a skip, and the outputs."""
        maps = [self.pre_net(inputs, training=training)]
        for shared, layer in zip(self.shared, self.active):
            maps.append(shared(maps[-1], layer, training))
        chosen = [maps[index + 1] for index in self.chosen]
        outputs = self.post_net([*chosen, maps[-1]] if self.chosen else maps[-1], training=training)
        layers = zip(maps[1:], self.active)
        return [None if layer["block"] == "skip" else each for each, layer in layers], outputs

    @property
    def losses(self) -> List[tf.Tensor]:
        """Penalties that the user's parts ask for."""
        return [*getattr(self.pre_net, "losses", []), *getattr(self.post_net, "losses", [])]


def recalibrate(network: tf.Module, batches: Sequence[tf.Tensor]) -> None:
    """Gathers the statistics of all normalizations anew: shared weights have none that fit every candidate (Yu, Huang,
    section 3.3). Dropout rests meanwhile, as it does when the network is judged."""
    layers = network.submodules
    norms = [each for each in network.submodules if isinstance(each, Norm)]
    theirs = [each for each in layers if isinstance(each, tf.keras.layers.BatchNormalization)]
    drops = [each for each in layers if isinstance(each, tf.keras.layers.Dropout)]
    kept = [each.momentum for each in theirs], [each.rate for each in drops]
    for drop in drops:
        drop.rate = 0.0
    for count, inputs in enumerate(batches, 1):
        for each in norms:
            each.share = 1.0 / count
        for norm in theirs:
            norm.momentum = 1.0 - 1.0 / count
        network(inputs, training=True)
    for each in norms:
        each.share = None
    for norm, momentum in zip(theirs, kept[0]):
        norm.momentum = momentum
    for drop, rate in zip(drops, kept[1]):
        drop.rate = rate


def cut_out(network: blocks.Network, shared: Supernet) -> None:
    """Gives a network the part of the shared weights that it uses, so that it computes what ``shared`` does with it. Both
    have seen an input."""
    network.pre_net.set_weights(shared.pre_net.get_weights())
    network.post_net.set_weights(shared.post_net.get_weights())
    for own, layer, kinds in zip(network.searched, shared.active, shared.shared):
        if layer["block"] == "skip":
            continue
        parts = kinds.blocks[layer["block"]]
        convs = [each for each in own.parts if isinstance(each, blocks.Conv)]
        pairs = list(zip(convs, (parts[name] for name in ("first", "middle", "last") if name in parts)))
        if own.shortcut is not None:
            pairs.append((own.shortcut, parts["shortcut"]))
        for conv, source in pairs:
            _take(conv.conv.weights[0], source.weight)
            _take(conv.norm.gamma, source.norm.weight)
            _take(conv.norm.beta, source.norm.bias)
        for excite in (each for each in own.parts if isinstance(each, blocks.SqueezeExcite)):
            for name in ("reduce", "expand"):
                weight, bias = getattr(excite, name).weights
                _take(weight, parts[name].weight[None, None])
                _take(bias, parts[name].bias)


def go_on(network: blocks.Network, shared: Supernet) -> None:
    """Gives a network weights between its own, which are new, and the part of the shared ones that it uses. Both have seen an
    input."""
    new = [tf.identity(each) for each in network.trainable_variables]
    cut_out(network, shared)
    for each, before in zip(network.trainable_variables, new):
        each.assign(loosened(tf.identity(each), before, tf.norm))


def _take(own: tf.Variable, shared: tf.Tensor) -> None:
    """The first channels of shared weights, and the middle of their windows."""
    channels = [slice(0, size) for size in own.shape[-2:]]
    edges = [(most - size) // 2 for size, most in zip(own.shape[:-2], shared.shape[:-2])]
    windows = [slice(edge, edge + size) for edge, size in zip(edges, own.shape[:-2])]
    own.assign(shared[(*windows, *channels)])
