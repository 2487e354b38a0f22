"""Scales, zero points and integers: the arithmetic of src/quantize/algorithms for networks that train. NumPy only."""

from typing import Any, Tuple

import numpy as np

from dopt.plugin.strategies import Grid, weight_limit

#: Smallest normal float32: devices flush what is below it to zero.
SMALLEST = 2.0**-126
#: Biases keep this far from the ends of int32.
BIAS_LIMIT = 2.0**30
#: How far a 16-bit range reaches beyond what was seen: rounding noise stays 80 dB below, and new values are not clipped.
HEADROOM_16 = 2.0


def parameters_of(low: float, high: float, grid: Grid) -> Tuple[float, int]:
    """float32 scale and zero point of a range, zero exact: ``dopt_quant_params`` in native/include/dopt.h."""
    if grid.symmetric:
        scale, zero = max(abs(low), abs(high)) / grid.high, 0
    else:
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / (grid.high - grid.low)
        zero = int(np.clip(np.rint(grid.low - low / scale), grid.low, grid.high)) if scale > 0 else 0
    if scale == 0:
        return 1.0, 0
    return float(np.float32(max(scale, SMALLEST))), zero


def observed_range(histograms: Any, index: int, grid: Grid) -> Tuple[float, float]:
    """The range of a tensor from its histogram: least squared error at 8 bits, all with headroom at 16."""
    state = histograms.states()[index]
    if grid.bits == 16:
        return HEADROOM_16 * min(0.0, state["min"]), HEADROOM_16 * max(0.0, state["max"])
    return histograms.range_mse(index, grid.bits, grid.signed, grid.symmetric)


def weight_scales(weight: Any, bits: int) -> Any:
    """float32 scales [channels] of a weight [channels, ...]: the share of the largest |w| with the least squared error.

    At 8 bits that is mostly all of it, at 4 bits rather two thirds. A channel of zeros gets the smallest scale in use.
    """
    flat = np.ascontiguousarray(weight, np.float32).reshape(len(weight), -1)
    largest = np.abs(flat).max(axis=1) if flat.shape[1] else np.zeros(len(flat), np.float32)
    limit = weight_limit(bits)
    best, least = largest / limit, np.full(len(flat), np.inf)
    for share in np.linspace(1.0, 0.4, 25):
        scale = np.maximum(largest * np.float32(share) / limit, SMALLEST).astype(np.float32)[:, None]
        error = ((np.clip(np.rint(flat / scale), -limit, limit) * scale - flat) ** 2).sum(axis=1)
        best = np.where(error < least, scale[:, 0], best)
        least = np.minimum(error, least)
    alive = best[largest > 0]
    return np.where(largest > 0, best, alive.min() if alive.size else 1.0).astype(np.float32)
