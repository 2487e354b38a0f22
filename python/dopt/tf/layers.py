"""Keras layers whose weights and biases lie on integer grids, batch normalization folded in, and the rounding between layers.

A layer keeps the class, the weights and the settings of the user's and gains a scale a channel. Its input is rounded by a
layer before it, which several layers may read.
"""

import contextlib
import inspect
from typing import Any, Dict, Iterator, List, Optional

import numpy as np
import tensorflow as tf

from dopt.errors import DoptError
from dopt.plugin.numbers import LayerNumbers
from dopt.plugin.strategies import WARM_UP
from dopt.tf.quantizer import ActivationQuantizer
from dopt.tf.weights import KINDS, Folded, WeightGrid

keras = tf.keras.layers

#: Layers that can be quantized, and the operator that reads their weight.
LAYER_TYPES: Dict[Any, str] = {
    keras.Conv1D: "Conv2D",
    keras.Conv2D: "Conv2D",
    keras.Conv3D: "Conv3D",
    keras.DepthwiseConv2D: "DepthwiseConv2dNative",
    keras.Conv2DTranspose: "Conv2DBackpropInput",
    keras.Dense: "MatMul",
}


def as_written(call: Any) -> Any:
    """Layers here are plain Python; what depends on values says so with TensorFlow's operators. Keras reads the signature."""
    made = tf.autograph.experimental.do_not_convert(call)
    made.__signature__ = inspect.signature(call)
    return made


class Rounded(keras.Layer):
    """Rounds a tensor for the layers that read it. ``quantizer`` may be shared with another place: then ``owns`` is false."""

    def __init__(self, quantizer: ActivationQuantizer, plan: Any, owns: bool, **more: Any) -> None:
        super().__init__(dtype="float32", **more)
        self.quantizer, self.plan, self.owns = quantizer, plan, owns
        #: Index of the network's input that it rounds, None for others.
        self.source: Optional[int] = None
        #: While an exported model is checked: its integers for the next call, and counts of differences.
        self.following: Any = None

    def build(self, input_shape: Any) -> None:
        if self.owns:
            self.quantizer.make_variables(lambda *given: _variable(self, *given))
        super().build(input_shape)

    @as_written
    def call(self, x: Any, training: Any = None) -> Any:
        mode = self.plan.mode
        if mode == "on":
            return self._round(x, training)
        if mode == "observe":
            return self._observe(x)
        if mode == "export":
            marked = tf.identity(x)
            self.plan.exported.rounded[marked.name] = self
            return marked
        if mode == "follow":
            return self.following(self, x)
        return x

    def _round(self, x: Any, training: Any) -> Any:
        quantizer = self.quantizer
        learning = is_training(training) and quantizer.fixed is None
        known = is_known(quantizer)
        if not known and not learning:
            self.plan.warn_uncalibrated(quantizer.name)
        if learning and (not known or quantizer.method == "ema"):
            found = quantizer.started(x) if not known else quantizer.followed(tf.stop_gradient(x))
            trains = tf.cast(training, tf.bool)
            for variable, value in zip((quantizer.scale0, quantizer.zero0, quantizer.seen), found):
                variable.assign(tf.where(trains, value, tf.convert_to_tensor(variable)))
        return quantizer.round(x, True if known else quantizer.known())

    def _observe(self, x: Any) -> Any:
        if tf.executing_eagerly():
            self._count(x.numpy())
        else:
            # A forward function of the user's, compiled: counting is no operator of TensorFlow.
            tf.numpy_function(self._count, [x], [])
        self.quantizer.samples.assign_add(tf.cast(tf.shape(x)[0], tf.float32) if x.shape.rank else 1.0)
        return x

    def _count(self, values: Any) -> None:
        try:
            self.quantizer.count(values)
        except DoptError as error:
            self.plan.failure = error
            raise


class QuantizedLayer:
    """What a layer gains. Mixed in front of the user's own class by ``quantized_layer``."""

    def begin(self: Any, path: str, bits: int, per_channel: bool, quantizer: ActivationQuantizer, plan: Any) -> None:
        """Settings; variables come with ``build``."""
        self.path, self.bits, self.per_channel, self.plan = path, bits, per_channel, plan
        self.quantizer, self.norm, self.grid = quantizer, None, None
        self.warm_up, self.follows_batches = WARM_UP, False
        self.kernel_name = "depthwise_kernel" if isinstance(self, keras.DepthwiseConv2D) else "kernel"

    @property
    def kind(self: Any) -> str:
        """The operator that reads the weight."""
        return LAYER_TYPES[type(self).mro()[2]]

    def build(self: Any, input_shape: Any) -> None:
        super().build(input_shape)  # type: ignore[misc]
        shape = tuple(self.weight.shape)
        self.lifted = self.kind == "Conv2D" and len(shape) == 3
        grid = WeightGrid(KINDS[self.kind], (1, *shape) if self.lifted else shape, self.bits, self.per_channel)
        if self.lifted:
            grid.view = grid.view[1:]
        grid.make_variables(lambda *given: _variable(self, *given))
        self.grid = grid
        self.norm_steps = _variable(self, "norm_steps", np.float32(0), False, tf.VariableAggregation.ONLY_FIRST_REPLICA)

    @property
    def weight(self: Any) -> Any:
        return getattr(self, self.kernel_name)

    def adopt(self: Any, norm: Any) -> None:
        """Takes in the batch normalization behind, a ``FoldedNorm``; called in the network, that hands values on."""
        self.norm = norm

    def calibrate(self: Any) -> None:
        """Scales from the weight as it is now."""
        weight = self.weight.numpy()
        self.grid.scale0.assign(self.grid.scales_of(weight[None] if self.lifted else weight))
        self.grid.log_scale.assign(tf.zeros_like(self.grid.log_scale))

    @as_written
    def call(self: Any, x: Any, training: Any = None) -> Any:
        if self.plan.mode == "export":
            return self._export(x)
        return self.plan.reached(self.path, self._result(x, training), training)

    def _result(self: Any, x: Any, training: Any) -> Any:
        if self.plan.mode in ("observe", "off"):
            y = self._apply(x, self.weight, self.bias)
            return y if self.norm is None else self.norm.normalize(y, False)
        warms = self.follows_batches or (self.warm_up > 0 and is_training(training))
        if self.norm is not None and warms:
            return self._warming(x, training)
        folded, on = self.folded(), self._on()
        now = self.grid.now(folded, self.quantizer.scale())
        weight = self.grid.round(self.weight, folded.factor, now.scale, on)
        return self._apply(x, weight, self.grid.round_bias(folded, now, on))

    def _on(self: Any) -> Any:
        return True if is_known(self.quantizer) else self.quantizer.known()

    def _warming(self: Any, x: Any, training: Any) -> Any:
        """Rounded weights, then batch normalization: with the statistics of the batch until warm-up ends.

        Afterwards with its own, which is the folded layer but for the rounding of the bias, added here.
        """
        folded, on = self.folded(), self._on()
        now = self.grid.now(folded, self.quantizer.scale())
        weight = self.grid.round(self.weight, self.grid.identity(), now.scale, on)
        if self.follows_batches:
            return self.norm.normalize(self._apply(x, weight, self.bias), True)
        trains = tf.cast(training, tf.bool)
        warming = tf.logical_and(trains, self.norm_steps < float(self.warm_up))
        y = self.norm.normalize(self._apply(x, weight, self.bias), warming)
        error = tf.stop_gradient(self.grid.round_bias(folded, now, on) - folded.bias)
        self.norm_steps.assign_add(tf.cast(warming, tf.float32))
        return y + self._along_channels(tf.where(warming, tf.zeros_like(error), error), y)

    def folded(self: Any) -> Folded:
        """Factor and bias of the folded layer, by the running statistics: γ/σ and β + (b − μ)·γ/σ."""
        bias = None if self.bias is None else tf.convert_to_tensor(self.bias)
        return Folded(self.grid.identity(), bias) if self.norm is None else self.norm.fold(bias)

    def _along_channels(self: Any, values: Any, y: Any) -> Any:
        if getattr(self, "data_format", "channels_last") == "channels_last":
            return values
        return tf.reshape(values, [-1, *[1] * (y.shape.rank - 2)])

    def _apply(self: Any, x: Any, weight: Any, bias: Any) -> Any:
        """The user's layer with another weight and bias."""
        with _replaced(self, {self.kernel_name: weight, "bias": bias, "use_bias": bias is not None}):
            return super().call(x)  # type: ignore[misc]

    def _export(self: Any, x: Any) -> Any:
        """Computes with its folded float weight and bias as constants, and leaves word of the operator."""
        with tf.init_scope():
            folded = self.folded()
            weight = self.weight * tf.reshape(folded.factor, self.grid.view)
            constants = [None if each is None else each.numpy() for each in (weight, folded.bias)]
        kernel = tf.constant(constants[0], name="weight")
        y = self._apply(x, kernel, None if constants[1] is None else tf.constant(constants[1], name="bias"))
        self.plan.exported.layers.append((_reader(kernel, self.kind), self, self.plan.exported.rounded[x.name]))
        return y

    def numbers(self: Any) -> LayerNumbers:
        """The integers of the layer as the forward pass uses them."""
        folded, input_scale = self.folded(), self.quantizer.scale()
        now = self.grid.now(folded, input_scale)
        weight = (self.weight * tf.reshape(folded.factor, self.grid.view)).numpy()
        integers = self.grid.integers(self.weight, folded, now).numpy().astype(np.int8)
        if self.lifted:
            integers = integers[None]
        bias = None
        if folded.bias is not None:
            bias = tf.round(folded.bias / now.bias_step).numpy().astype(np.int32)
        return LayerNumbers(
            name=self.path,
            bits=self.bits,
            integers=np.ascontiguousarray(self.grid.to_onnx(integers)),
            scales=now.stretched.numpy(),
            axis=self.grid.kind.onnx_axis,
            bias=bias,
            input_scale=float(input_scale),
            seen=(float(weight.min()), float(weight.max())),
        )


class FoldedNorm:
    """A batch normalization that the layer before it computes: called, it hands values on."""

    @as_written
    def call(self: Any, inputs: Any, training: Any = None) -> Any:
        return inputs

    def normalize(self: Any, y: Any, training: Any) -> Any:
        """The normalization itself; ``training`` takes the batch's statistics and updates the running ones."""
        return super().call(y, training=training)  # type: ignore[misc]

    def fold(self: Any, bias: Optional[Any]) -> Folded:
        """Factor and bias that make a layer compute the normalization with running statistics."""
        factor = tf.math.rsqrt(tf.convert_to_tensor(self.moving_variance) + self.epsilon)
        if self.scale:
            factor = factor * self.gamma
        shift = (0.0 if bias is None else bias) - tf.convert_to_tensor(self.moving_mean)
        return Folded(factor, shift * factor + (self.beta if self.center else 0.0))


def base_of(layer: Any) -> Any:
    """The class of Keras that a layer computes like, of those that can be quantized; None for others."""
    plain = (base for base in LAYER_TYPES if isinstance(layer, base) and type(layer).call is base.call)
    return next((base for base in plain if type(layer).get_config is base.get_config), None)


def quantized_layer(
    layer: Any, path: str, bits: int, per_channel: bool, quantizer: ActivationQuantizer, plan: Any
) -> Any:
    """The quantized form of a float layer, its weights not yet copied."""
    base = base_of(layer)
    made = type(f"Quantized{base.__name__}", (QuantizedLayer, base), {})
    twin = made.from_config({**layer.get_config(), "name": path, "dtype": "float32"})
    twin.begin(path, bits, per_channel, quantizer, plan)
    return twin


def folded_norm(norm: Any, path: str) -> Any:
    """A batch normalization that its layer computes, its statistics not yet copied."""
    made = type("FoldedBatchNormalization", (FoldedNorm, keras.BatchNormalization), {})
    return made.from_config({**norm.get_config(), "name": path, "dtype": "float32"})


def is_training(training: Any) -> bool:
    """Whether a call may be one of training: ``training`` is True, or a tensor that tells when it runs."""
    return training is not None and training is not False


def is_known(quantizer: ActivationQuantizer) -> bool:
    """Whether the range is known already while a program is traced; if not, it is asked again in every step."""
    if not tf.compat.v1.executing_eagerly_outside_functions():
        return False
    with tf.init_scope():
        return bool(tf.convert_to_tensor(quantizer.scale0).numpy() > 0)


def _variable(layer: Any, name: str, value: Any, trainable: bool, aggregation: Any = None) -> Any:
    """Replicas of a distributed network agree on the mean of what each saw."""
    value = np.asarray(value, np.float32)
    return layer.add_weight(
        name=name,
        shape=value.shape,
        dtype=tf.float32,
        trainable=trainable,
        initializer=tf.constant_initializer(value),
        aggregation=aggregation or tf.VariableAggregation.MEAN,
    )


@contextlib.contextmanager
def _replaced(layer: Any, values: Dict[str, Any]) -> Iterator[None]:
    """Within, attributes of a layer have other values, without Keras looking."""
    kept = {name: layer.__dict__.get(name) for name in values}
    layer.__dict__.update(values)
    try:
        yield
    finally:
        layer.__dict__.update(kept)


def _reader(constant: Any, op: str) -> str:
    """The operator of a graph under construction that reads a constant as its weight, through reshapes."""
    waiting: List[Any] = [constant]
    while waiting:
        for reader in waiting.pop().consumers():
            if reader.type == op:
                return str(reader.name)
            waiting += reader.outputs
    raise AssertionError(f"no {op} reads {constant.name}")
