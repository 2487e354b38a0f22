"""The quantizer of an activation: observes, or rounds with a learned grid. Variables and arithmetic, without a place.

Keras layers and sessions both put it to use; they make its variables, and say when it counts and when it rounds.
"""

from typing import Any, Callable, List, Optional, Tuple

import numpy as np
import tensorflow as tf

from dopt.plugin.grids import observed_range, parameters_of
from dopt.plugin.numbers import Quantizer
from dopt.plugin.refusals import not_finite
from dopt.plugin.strategies import EMA_RATE, Grid, rule_of
from dopt.tf.functions import round_activation, traced_once

#: Makes a float32 variable: name, initial value, whether the optimizer trains it.
MakeVariable = Callable[[str, Any, bool], Any]


class ActivationQuantizer:
    """Rounds one tensor to ``grid``. ``fixed``: the range that its producer sets (softmax, sigmoid), which nothing moves.

    Variables: ``scale0`` (0 until a range is known), ``zero0``, ``seen`` [2], ``samples``, ``log_scale``, ``shift``.
    """

    def __init__(self, name: str, grid: Grid, method: str, fixed: Optional[Tuple[float, float]] = None) -> None:
        self.name, self.grid, self.method, self.fixed = name, grid, method, fixed
        self.histograms: Any = None
        self.index = 0
        self.scale0: Any = None

    def make_variables(self, make: MakeVariable) -> None:
        """Once, by whoever owns them."""
        self.learns = self.fixed is None and self.method != "ema"
        scale, zero = parameters_of(*self.fixed, self.grid) if self.fixed else (0.0, 0)
        self.scale0 = make("scale0", np.float32(scale), False)
        self.zero0 = make("zero0", np.float32(zero), False)
        self.seen = make("seen", np.asarray(self.fixed or (0, 0), np.float32), False)
        self.samples = make("samples", np.float32(0), False)
        self.log_scale = make("log_scale", np.float32(0), True) if self.learns else None
        self.shift = make("shift", np.float32(0), True) if self.learns else None

    @property
    def variables(self) -> List[Any]:
        """All of them, those that exist."""
        every = (self.scale0, self.zero0, self.seen, self.samples, self.log_scale, self.shift)
        return [variable for variable in every if variable is not None]

    def grid_now(self) -> Tuple[Any, Any]:
        """Scale s0·exp(θ), 1 while no range is known, and zero point round(z0 + Q·ζ), as they are exported; no gradients.

        The zero point stays inside the integer type, so that zero is exact; of a tensor that is never negative it is 0.
        """
        scale0, zero0 = tf.convert_to_tensor(self.scale0), tf.convert_to_tensor(self.zero0)
        if not self.learns:
            return _grid_of(scale0, tf.zeros([])), zero0
        scale = _grid_of(scale0, tf.stop_gradient(self.log_scale))
        if self.grid.symmetric:
            return scale, zero0
        limits = (float(self.grid.low), float(self.grid.high))
        return scale, _moved(zero0, tf.stop_gradient(self.shift), tf.convert_to_tensor(self.seen), *limits)

    def scale(self) -> Any:
        """The first of ``grid_now``."""
        return self.grid_now()[0]

    def known(self) -> Any:
        """Whether there is a range: a boolean tensor."""
        return tf.convert_to_tensor(self.scale0) > 0

    def round(self, x: Any, on: Any, learning: Any = True) -> Any:
        """The rounded form of float32 ``x`` where ``on``; scales learn where ``learning``, both True or boolean tensors."""
        zero = tf.zeros([])
        log_scale, shift = (self.log_scale, self.shift) if self.learns else (zero, zero)
        if learning is not True and self.learns:
            log_scale, shift = (
                tf.where(learning, tf.convert_to_tensor(each), tf.stop_gradient(tf.convert_to_tensor(each)))
                for each in (log_scale, shift)
            )
        scale, zero_point = self.grid_now()
        limits = (self.grid.low, self.grid.high)
        return round_activation(x, log_scale, shift, scale, zero_point, limits, self.method == "pact", on)

    def started(self, x: Any) -> Tuple[Any, Any, Any]:
        """Scale, zero point and extremes: those that are known, else those of ``x``, a first batch nobody calibrated for."""

        def start(values: Any, scale: Any, zero: Any, seen: Any) -> Any:
            if scale > 0:
                return scale, zero, seen
            from dopt import native

            self.histograms, self.index = native.load().histograms(1), 0
            self.count(values)
            found = self.found()
            self.histograms = None
            return found or (scale, zero, seen)

        values = [x, self.scale0, self.zero0, self.seen]
        found = tf.numpy_function(start, values, [tf.float32] * 3, name="first_range")
        return tuple(tf.ensure_shape(each, shape) for each, shape in zip(found, ([], [], [2])))  # type: ignore[return-value]

    def followed(self, x: Any) -> Tuple[Any, Any, Any]:
        """The same after a running mean of the extremes took ``x`` in (Jacob et al., arXiv:1712.05877, section 3.1)."""
        now = tf.stack([tf.minimum(tf.reduce_min(x), 0), tf.maximum(tf.reduce_max(x), 0)])
        seen = self.seen + EMA_RATE * (now - self.seen)
        if self.grid.symmetric:
            scale, zero = tf.reduce_max(tf.abs(seen)) / self.grid.high, tf.zeros([])
        else:
            scale = (seen[1] - seen[0]) / (self.grid.high - self.grid.low)
            zero = tf.clip_by_value(tf.round(self.grid.low - seen[0] / scale), self.grid.low, self.grid.high)
        alive = scale > 0
        return tf.where(alive, scale, self.scale0), tf.where(alive, zero, self.zero0), seen

    def count(self, values: Any) -> None:
        """Adds an array to the histogram. Raises DoptError PLUGIN_NOT_FINITE."""
        values = np.ascontiguousarray(values, np.float32)
        self.histograms.update([(self.index, values.ctypes.data, values.size)])
        if self.histograms.nonfinite()[self.index]:
            raise not_finite(self.name)

    def found(self) -> Optional[Tuple[Any, Any, Any]]:
        """Scale, zero point and extremes of what was counted; None when nothing was, or the range is fixed."""
        state = self.histograms.states()[self.index]
        if self.fixed is not None or not state["count"]:
            return None
        scale, zero = parameters_of(*observed_range(self.histograms, self.index, self.grid), self.grid)
        return np.float32(scale), np.float32(zero), np.asarray((state["min"], state["max"]), np.float32)

    def numbers(self, scale: Any, zero_point: Any, seen: Any, trained: bool) -> Quantizer:
        """What is exported, from the values of ``grid_now()`` and ``seen``."""
        rule = rule_of(self.grid, self.method, self.fixed is not None, trained)
        extremes = (float(seen[0]), float(seen[1]))
        return Quantizer(self.name, self.grid, float(scale), int(zero_point), extremes, rule)


_ONE = tf.TensorSpec([], tf.float32)


@traced_once(_ONE, _ONE)
def _grid_of(scale0: Any, log_scale: Any) -> Any:
    scale = scale0 * tf.exp(log_scale)
    return tf.where(scale > 0, scale, tf.ones_like(scale))


@traced_once(_ONE, _ONE, tf.TensorSpec([2], tf.float32), _ONE, _ONE)
def _moved(zero0: Any, shift: Any, seen: Any, low: Any, high: Any) -> Any:
    moved = tf.clip_by_value(tf.round(zero0 + (high - low) * shift), low, high)
    return tf.where(seen[0] >= 0, zero0, moved)
