"""Weights and biases on integer grids: the arithmetic of a layer, for Keras layers and sessions alike."""

from typing import Any, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow as tf

from dopt.plugin.grids import BIAS_LIMIT, SMALLEST, weight_scales
from dopt.plugin.strategies import weight_limit
from dopt.tf.functions import integers_of, round_weight, through, traced_once
from dopt.tf.quantizer import MakeVariable


class Kind(NamedTuple):
    """How TensorFlow lays out a layer's weight. ``channel_axes``: those of the output channels; ``to_onnx``: the order of axes
    of the ONNX form, whose channels lie along ``onnx_axis``."""

    channel_axes: Tuple[int, ...]
    to_onnx: Tuple[int, ...]
    onnx_axis: int


#: By the operator that reads the weight.
KINDS = {
    "Conv2D": Kind((3,), (3, 2, 0, 1), 0),
    "Conv3D": Kind((4,), (4, 3, 0, 1, 2), 0),
    "DepthwiseConv2dNative": Kind((2, 3), (2, 3, 0, 1), 0),
    "Conv2DBackpropInput": Kind((2,), (3, 2, 0, 1), 1),
    "MatMul": Kind((1,), (1, 0), 0),
}


class Folded(NamedTuple):
    """γ/σ and the bias of a layer with its batch normalization folded in, one an output channel."""

    factor: Any
    bias: Optional[Any]


class WeightGrid:
    """The grid of one weight. Variables: ``scale0`` [channels or 1], ``log_scale`` of the same shape."""

    def __init__(self, kind: Kind, weight_shape: Tuple[int, ...], bits: int, per_channel: bool) -> None:
        self.kind, self.bits, self.per_channel = kind, bits, per_channel
        self.limit = weight_limit(bits)
        axes = kind.channel_axes if per_channel else ()
        self.view = tuple(size if axis in axes else 1 for axis, size in enumerate(weight_shape))
        #: Channels lie in these axes of the weight; with one scale, the factor of each channel is 1.
        self.channels = int(np.prod([weight_shape[axis] for axis in kind.channel_axes]))
        self.count = self.channels if per_channel else 1

    def make_variables(self, make: MakeVariable) -> None:
        """Once, by whoever owns them."""
        self.scale0 = make("weight_scale0", np.zeros(self.count, np.float32), False)
        self.log_scale = make("weight_log_scale", np.zeros(self.count, np.float32), True)

    def scales_of(self, weight: Any) -> Any:
        """float32 scales [count] of a weight array as it is now: least squared error, a channel or all of it."""
        turned = self.to_onnx(np.asarray(weight, np.float32))
        if not self.per_channel:
            return weight_scales(turned.reshape(1, -1), self.bits)
        return weight_scales(np.moveaxis(turned, self.kind.onnx_axis, 0), self.bits)

    def started(self, weight: Any) -> Any:
        """``scale0``, or where it is not known the scales of ``weight``."""

        def start(weight: Any, scale: Any) -> Any:
            return scale if (scale > 0).all() else self.scales_of(weight)

        return tf.ensure_shape(tf.numpy_function(start, [weight, self.scale0], tf.float32), [self.count])

    def to_onnx(self, array: Any) -> Any:
        """An array of the weight's shape as ONNX has it; a depthwise weight [C·M, 1, ...]."""
        moved = array.transpose(self.kind.to_onnx)
        return moved.reshape(-1, 1, *moved.shape[2:]) if len(self.kind.channel_axes) == 2 else moved

    def identity(self) -> Any:
        """The factor of a layer without batch normalization."""
        return tf.ones([self.count])

    def now(self, folded: Folded, input_scale: Any) -> "GridNow":
        """The grid as it is; no gradients."""
        log_scale, factor = (tf.stop_gradient(tf.convert_to_tensor(each)) for each in (self.log_scale, folded.factor))
        bias = tf.zeros([1]) if folded.bias is None else tf.stop_gradient(folded.bias)
        fitted = _fitted if self.per_channel and folded.bias is not None else _fitted_to_largest
        found = fitted(tf.convert_to_tensor(self.scale0), log_scale, factor, bias, input_scale)
        for each in found:
            each.set_shape([self.count])
        return GridNow(*found)

    def round(self, weight: Any, factor: Any, scale: Any, on: Any, learning: Any = True) -> Any:
        """The weight on its grid, stretched by ``factor``."""
        log_scale = tf.convert_to_tensor(self.log_scale)
        if learning is not True:
            log_scale = tf.where(learning, log_scale, tf.stop_gradient(log_scale))
        return round_weight(weight, log_scale, factor, scale, self.limit, self.view, on)

    def round_bias(self, folded: Folded, now: "GridNow", on: Any) -> Any:
        """The bias on its int32 grid where ``on``; gradients go straight through."""
        if folded.bias is None:
            return None
        bias = tf.stop_gradient(folded.bias)
        rounded = tf.round(bias / now.bias_step) * now.bias_step
        return through(folded.bias, rounded if on is True else tf.where(on, rounded, bias))

    def integers(self, weight: Any, folded: Folded, now: "GridNow") -> Any:
        """Integers of the folded weight as floats, in its shape."""
        sign = tf.reshape(tf.sign(folded.factor), self.view)
        return integers_of(weight, tf.reshape(now.scale, self.view), self.limit) * sign


class GridNow(NamedTuple):
    """float32 [channels or 1]. ``scale``: of the unfolded weight, wide enough that folded ones are no subnormal numbers and
    the bias fits int32. ``stretched``: what is exported, s·|f|; of a channel that the normalization multiplies by 0, any that
    fits. ``bias_step``: the grid of the bias, input scale times weight scale."""

    scale: Any
    stretched: Any
    bias_step: Any


_LIST = tf.TensorSpec([None], tf.float32)
_GRID = (_LIST, _LIST, _LIST, _LIST, tf.TensorSpec([], tf.float32))


@traced_once(*_GRID)
def _fitted(scale0: Any, log_scale: Any, factor: Any, bias: Any, input_scale: Any) -> Tuple[Any, Any, Any]:
    return _fit(scale0, log_scale, factor, tf.abs(bias), input_scale)


@traced_once(*_GRID)
def _fitted_to_largest(scale0: Any, log_scale: Any, factor: Any, bias: Any, input_scale: Any) -> Tuple[Any, Any, Any]:
    return _fit(scale0, log_scale, factor, tf.fill(tf.shape(scale0), tf.reduce_max(tf.abs(bias))), input_scale)


def _fit(scale0: Any, log_scale: Any, factor: Any, bias: Any, input_scale: Any) -> Tuple[Any, Any, Any]:
    scale = scale0 * tf.exp(log_scale)
    one = tf.ones_like(scale)
    scale, factor = tf.where(scale > 0, scale, one), tf.abs(factor)
    least = tf.maximum(tf.maximum(SMALLEST / input_scale, SMALLEST), bias / input_scale / BIAS_LIMIT)
    alive = factor > 0
    scale = tf.where(alive, tf.maximum(scale, least / tf.where(alive, factor, one)), scale)
    stretched = scale * factor
    stretched = tf.where(stretched > 0, stretched, one)
    return scale, stretched, input_scale * stretched
