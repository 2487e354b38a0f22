"""Calibration of a session's graph: counting what its quantizers see, then ranges and scales."""

from typing import Any

import numpy as np

from dopt.plugin.refusals import nothing_seen
from dopt.tf.session.network import plan_of


def begin_calibration(sess: Any) -> None:
    """From now on the graph computes in float, and quantizers count what they see, from nothing."""
    from dopt import native

    plan = plan_of(sess)
    histograms = native.load().histograms(max(len(plan.rounded), 1))
    for index, rounded in enumerate(plan.rounded):
        rounded.quantizer.histograms, rounded.quantizer.index = histograms, index
        rounded.quantizer.samples.load(np.float32(0), sess)
    plan.failure = None
    plan.calibrating.load(True, sess)


def end_calibration(sess: Any) -> None:
    """Ranges from what was seen, scales from the weights as they are; the graph computes quantized.

    Raises DoptError PLUGIN_NO_CALIBRATION when nothing was seen, PLUGIN_NOT_FINITE when NaN or infinity was.
    """
    plan = plan_of(sess)
    if not sess.run(plan.calibrating):
        return
    if plan.failure is not None:
        raise plan.failure
    free = [rounded.quantizer for rounded in plan.rounded if rounded.quantizer.fixed is None]
    if free and not any(sess.run([quantizer.samples for quantizer in free])):
        raise nothing_seen("set_calibrate_state(sess, True) and (sess, False)")
    for quantizer in (rounded.quantizer for rounded in plan.rounded):
        found = quantizer.found()
        if found is not None:
            values = (*found, np.float32(0), np.float32(0))
            for variable, value in zip((*_ranges(quantizer), quantizer.log_scale, quantizer.shift), values):
                variable.load(value, sess)
        quantizer.histograms = None
    for operator in plan.operators:
        grid = operator.grid
        if grid is not None:
            grid.scale0.load(grid.scales_of(sess.run(operator.weight)), sess)
            grid.log_scale.load(np.zeros(grid.count, np.float32), sess)
    plan.calibrating.load(False, sess)


def _ranges(quantizer: Any) -> Any:
    return quantizer.scale0, quantizer.zero0, quantizer.seen
