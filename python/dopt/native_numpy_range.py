"""The sweep for the clip of least squared error, in numpy: what ``dopt_range_mse`` of the native core does."""

from __future__ import annotations

from typing import Any

#: Shares of the whole range that a sweep tries, and how finely it looks around the best of them.
_STEPS = 32
_ROUNDS = 3


def range_mse(
    state: dict[str, Any], counts: Any, bits: int, signed: bool, symmetric: bool
) -> tuple[float, float]:
    """The clip (low, high) of a histogram with the least expected squared error, zero inside.

    Both ends by turns, each by a sweep that closes in on its best share of the whole range. Choukroun et al.,
    arXiv:1902.06822, section 3.2. A bin is taken at its middle, so the result may differ a little from the native
    core's, which knows that values spread over bins.
    """
    import numpy as np

    low, high = min(0.0, state["min"]), max(0.0, state["max"])
    if low == high:
        return 0.0, 0.0
    grid = state["histogram"]
    used = np.flatnonzero(counts)
    values = np.clip((used + grid["base"] + 0.5) * grid["width"], state["min"], state["max"])
    weights = counts[used].astype(np.float64)

    def error(left: float, right: float) -> float:
        return _error(values, weights, left, right, bits, symmetric)

    if symmetric:
        reach = max(-low, high)
        best = _sweep(lambda share: error(-reach * share, reach * share)) * reach
        return -best, best
    left, right = 1.0, 1.0
    for _ in range(2):
        right = _sweep(lambda share: error(low * left, high * share)) if high > 0 else right
        left = _sweep(lambda share: error(low * share, high * right)) if low < 0 else left
    return low * left, high * right


def _sweep(error: Any) -> float:
    """The share in (0, 1] with the least error; a larger one where several are as good."""
    first, last = 1.0 / _STEPS, 1.0
    best = 1.0
    for _ in range(_ROUNDS):
        step = (last - first) / (_STEPS - 1)
        shares = [last - step * index for index in range(_STEPS)]
        best = min(shares, key=error)
        first, last = max(best - step, step / _STEPS), min(best + step, 1.0)
    return best


def _error(values: Any, weights: Any, low: float, high: float, bits: int, symmetric: bool) -> float:
    """Squared error of the values quantized within [low, high]."""
    import numpy as np

    if symmetric:
        limit = (1 << (bits - 1)) - 1
        scale, bounds = high / limit, (-limit - 1, limit)
    else:
        levels = (1 << bits) - 1
        scale = (high - low) / levels
        zero = round(-low / scale)
        bounds = (-zero, levels - zero)
    rounded = np.clip(np.rint(values / scale), *bounds) * scale
    return float(weights @ (values - rounded) ** 2)
