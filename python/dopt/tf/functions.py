"""Rounding to a grid with gradients for values, scales and zero points. Forward arithmetic is that of ONNX QuantizeLinear.

The counterpart of dopt/torch/functions.py: the same formulas, for eager execution, tf.function and sessions. ``on`` is True,
or a boolean tensor: where it is false, values are handed on. The formulas are functions of TensorFlow, traced once and called
by every layer: written into each layer's graph, their operators would make a network take minutes to compile.
"""

import functools
from typing import Any, Callable, List, Tuple

import tensorflow as tf

_ANY = tf.TensorSpec(None, tf.float32)
_ONE = tf.TensorSpec([], tf.float32)
_LIST = tf.TensorSpec([None], tf.float32)


def traced_once(*signature: Any) -> Callable[[Any], Any]:
    """A function of TensorFlow with this signature; it is differentiated by its callers, or not at all."""
    return tf.function(input_signature=list(signature), autograph=False)


def round_activation(
    x: Any, log_scale: Any, shift: Any, scale: Any, zero_point: Any, limits: Tuple[int, int], clip_only: bool, on: Any = True
) -> Any:
    """x̂ = clamp(round(x / s), low − z, high − z) · s, the division in float32, ties to even. All tensors float32.

    Gradients: straight through for x inside the range; for the scale LSQ (Esser et al., arXiv:1902.08153, equation 3),
    for the zero point LSQ+ (Bhalgat et al., arXiv:2004.09576, section 3.1), each scaled by 1/√(N·Q), section 2.2 of
    the former. ``clip_only`` leaves the rounding error out of the scale's gradient, as PACT does (Choi et al.,
    arXiv:1805.06085, equation 3). Of ``log_scale`` [] and ``shift`` [] only gradients are taken: the scale is s0·exp(θ) and
    the zero point z0 + Q·ζ, and a step on θ and ζ changes s and z, relative to s, as much as a step on s itself would.
    Bounded by 1: where everything is clipped, a step would otherwise throw the scale away.
    """
    low, high = float(limits[0]) - zero_point, float(limits[1]) - zero_point
    levels = float(limits[1] - limits[0])

    @tf.custom_gradient
    def rounding(x: Any, log_scale: Any, shift: Any) -> Any:
        # An eager tape looks into functions that read what it watches.
        rounded = _shaped(_rounded(tf.stop_gradient(x), scale, low, high), x)

        def gradient(upstream: Any) -> Any:
            other = rounded if clip_only else x
            passed, *for_grid = _activation_gradients(upstream, x, rounded, other, scale, low, high, levels)
            passed = _shaped(passed, x)
            return (passed if on is True else tf.where(on, passed, upstream)), *_where(on, for_grid)

        return (rounded if on is True else tf.where(on, rounded, x)), gradient

    return rounding(*map(tf.convert_to_tensor, (x, log_scale, shift)))


@traced_once(_ANY, _ONE, _ONE, _ONE)
def _rounded(x: Any, scale: Any, low: Any, high: Any) -> Any:
    # One pass instead of two; tf.clip_by_value is Minimum and Maximum.
    return tf.raw_ops.ClipByValue(t=tf.round(x / scale), clip_value_min=low, clip_value_max=high) * scale


@traced_once(_ANY, _ANY, _ANY, _ANY, _ONE, _ONE, _ONE, _ONE)
def _activation_gradients(
    upstream: Any, x: Any, rounded: Any, other: Any, scale: Any, low: Any, high: Any, levels: Any
) -> Tuple[Any, Any, Any]:
    inside = tf.logical_and(x >= low * scale, x <= high * scale)
    passed = tf.where(inside, upstream, tf.zeros_like(upstream))
    norm = tf.math.rsqrt(tf.cast(tf.size(x), tf.float32) * levels)
    for_scale = (_dot(upstream, rounded) - _dot(passed, other)) / scale**2 * norm
    for_shift = (tf.reduce_sum(passed) - tf.reduce_sum(upstream)) / (scale * levels) * norm
    return passed, tf.clip_by_value(for_scale, -1.0, 1.0), tf.clip_by_value(for_shift, -1.0, 1.0)


def round_weight(
    weight: Any, log_scale: Any, factor: Any, scale: Any, limit: int, shape: Tuple[int, ...], on: Any = True
) -> Any:
    """ŵ = clamp(round(w / s), −limit, limit) · (s·f), a scale for each output channel (or one), LSQ gradients.

    ``factor`` f [channels] is γ/σ of the batch normalization behind, which only stretches the grid of a channel: the
    integers are those of w, and the folded weight lies on its grid exactly. ``shape`` lets scales meet the channels.
    """
    forward, backward = _weight_functions(shape, float(limit))

    @tf.custom_gradient
    def rounding(weight: Any, log_scale: Any, factor: Any) -> Any:
        rounded = _shaped(forward(tf.stop_gradient(weight), tf.stop_gradient(factor), scale), weight)

        def gradient(upstream: Any) -> Any:
            for_weight, for_scale, for_factor = backward(upstream, weight, factor, scale)
            for_weight = _shaped(for_weight, weight)
            if on is not True:
                for_weight = tf.where(on, for_weight, upstream * tf.reshape(factor, shape))
                for_factor = tf.where(on, for_factor, _per_channel(upstream * weight, shape))
            return for_weight, *_where(on, [for_scale]), for_factor

        if on is True:
            return rounded, gradient
        return tf.where(on, rounded, weight * tf.reshape(factor, shape)), gradient

    return rounding(*map(tf.convert_to_tensor, (weight, log_scale, factor)))


@functools.lru_cache(maxsize=None)
def _weight_functions(shape: Tuple[int, ...], limit: float) -> Tuple[Any, Any]:
    @traced_once(_ANY, _LIST, _LIST)
    def forward(weight: Any, factor: Any, scale: Any) -> Any:
        return integers_of(weight, tf.reshape(scale, shape), limit) * tf.reshape(scale * factor, shape)

    @traced_once(_ANY, _ANY, _LIST, _LIST)
    def backward(upstream: Any, weight: Any, factor: Any, scale: Any) -> Tuple[Any, Any, Any]:
        position = weight / tf.reshape(scale, shape)
        integers = tf.clip_by_value(tf.round(position), -limit, limit)
        inside = tf.abs(position) <= limit
        stretched = upstream * tf.reshape(factor, shape)
        error = tf.where(inside, integers - position, integers)
        count = tf.cast(tf.size(weight), tf.float32) / tf.cast(tf.size(scale), tf.float32)
        for_scale = _per_channel(stretched * error, shape) / scale * tf.math.rsqrt(count * limit)
        for_factor = _per_channel(upstream * integers, shape) * scale
        return tf.where(inside, stretched, tf.zeros_like(stretched)), tf.clip_by_value(for_scale, -1.0, 1.0), for_factor

    return forward, backward


def integers_of(weight: Any, scale: Any, limit: float) -> Any:
    """round(w / s) within ±limit, as floats."""
    return tf.clip_by_value(tf.round(weight / scale), -float(limit), float(limit))


@tf.custom_gradient
def through(value: Any, rounded: Any) -> Any:
    """``rounded``, with the gradient going to ``value``."""
    return tf.identity(rounded), lambda upstream: (upstream, None)


def _shaped(tensor: Any, like: Any) -> Any:
    """Tells a result's shape, which the function of any shape does not know."""
    tensor.set_shape(like.shape)
    return tensor


def _where(on: Any, gradients: List[Any]) -> List[Any]:
    return gradients if on is True else [tf.where(on, each, tf.zeros_like(each)) for each in gradients]


def _dot(a: Any, b: Any) -> Any:
    return tf.reshape(tf.matmul(tf.reshape(a, [1, -1]), tf.reshape(b, [-1, 1])), [])


def _per_channel(values: Any, shape: Tuple[int, ...]) -> Any:
    """Sums over the axes in which ``shape``, that of the scales, has size 1."""
    axes = [axis for axis, size in enumerate(shape) if size == 1]
    return tf.reshape(tf.reduce_sum(values, axes) if axes else values, [-1])
