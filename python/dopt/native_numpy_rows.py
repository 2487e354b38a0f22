"""Weights in groups in numpy, for machines without the native library and as the slow form it is tested against."""

from __future__ import annotations

from typing import Any, Callable, Optional

from .native_rows import RowGrid

#: Of the mean diagonal, as in native/src/gram_refine.cc.
RIDGE = 1e-9
FITS = 4
#: One of so many clips is tried first, then those beside the best, as in native/src/group_scales.cc.
COARSE = 4


class NumpyRows:
    """The methods of ``RowCalls`` in numpy."""

    def group_scales(self, weights: Any, grid: RowGrid, importance: Optional[Any], candidates: int, least: float) -> Any:
        """float32 [outputs, groups]; see ``RowCalls``."""
        import numpy as np

        groups = -(-weights.shape[1] // grid.group)
        out = np.empty((weights.shape[0], groups), np.float32)
        for g in range(groups):
            part = slice(g * grid.group, (g + 1) * grid.group)
            power = np.ones(weights[:, part].shape[1]) if importance is None else importance[part]
            out[:, g] = _scales_of(weights[:, part].astype(np.float64), power, grid, candidates, least)
        return out

    def group_nearest(self, values: Any, grid: RowGrid, scales: Any) -> Any:
        """int8 nearest to float64 values; see ``RowCalls``."""
        import numpy as np

        return np.clip(np.rint(values / spread(scales, grid, values.shape[1])), grid.qmin, grid.qmax).astype(np.int8)

    def gram_round(
        self, order: Any, factor: Any, target: Any, grid: RowGrid, scales: Any, run_factors: Optional[Any] = None
    ) -> Any:
        """int8 by error feedback; see ``RowCalls``."""
        import numpy as np

        target, steps = target[:, order], spread(scales, grid, target.shape[1])[:, order]
        out, errors = np.zeros(target.shape, np.int8), np.zeros_like(target)
        for k in reversed(range(len(order))):
            aim = target[:, k] + errors[:, k + 1 :] @ factor[k + 1 :, k] / factor[k, k]
            if run_factors is None:
                q = np.clip(np.rint(aim / steps[:, k]), grid.qmin, grid.qmax)
            else:
                q = _round_runs(aim, steps[:, k], grid, run_factors)
            out[:, order[k]] = q
            errors[:, k] = target[:, k] - q * steps[:, k]
        return out

    def gram_refine(
        self, gram: Any, target: Any, grid: RowGrid, scales: Any, integers: Any, refit: bool, sweeps: int
    ) -> None:
        """Scales and integers made better in place; see ``RowCalls``."""
        in_turns(_sweep, _fit, refit, sweeps)(gram, target, grid, scales, integers)


def _round_runs(aim: Any, steps: Any, grid: RowGrid, factors: Any) -> Any:
    """float64 [outputs]: one weight of every row, from the last row of each run to its first; factors [runs, run, run]."""
    import numpy as np

    aim, steps = aim.reshape(factors.shape[:2]), steps.reshape(factors.shape[:2])
    q, errors = np.zeros_like(aim), np.zeros_like(aim)
    for i in reversed(range(aim.shape[1])):
        due = (errors[:, i + 1 :] * factors[:, i + 1 :, i]).sum(axis=1) / factors[:, i, i]
        q[:, i] = np.clip(np.rint((aim[:, i] + due) / steps[:, i]), grid.qmin, grid.qmax)
        errors[:, i] = aim[:, i] - q[:, i] * steps[:, i]
    return q.reshape(-1)


def in_turns(sweep: Callable[..., None], fit: Callable[..., None], refit: bool, sweeps: int) -> Callable[..., None]:
    """``gram_refine`` of its two parts: a fit of the scales behind each sweep, or alone where there is no sweep."""

    def refine(*given: Any) -> None:
        for _ in range(sweeps):
            sweep(*given)
            if refit:
                fit(*given)
        if refit and sweeps == 0:
            fit(*given)

    return refine


def spread(scales: Any, grid: RowGrid, inputs: int) -> Any:
    """float64 [outputs, inputs]: the scale of each weight."""
    import numpy as np

    return np.repeat(scales.astype(np.float64), grid.group, axis=1)[:, :inputs]


def half_scale(scales: Any) -> Any:
    """float32 with 11 significant bits, rounded half to even."""
    import numpy as np

    single = np.ascontiguousarray(scales, np.float32)
    bits = single.view(np.uint32)
    rounded = ((bits + np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where((single >= 1e-30) & (single < 1e30), rounded, single)


def _scales_of(w: Any, power: Any, grid: RowGrid, candidates: int, least: float) -> Any:
    import numpy as np

    def tried(scale: Any) -> Any:
        q = np.clip(np.rint(w * (1.0 / scale)[:, None]), grid.qmin, grid.qmax)
        error = (power * (w - q * scale[:, None]) ** 2).sum(axis=1)
        dot, square = (power * w * q).sum(axis=1), (power * q * q).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return error, np.where((square > 0) & (dot > 0), dot / square, scale)

    whole = np.maximum(np.maximum(w.max(axis=1), 0) / grid.qmax, np.minimum(w.min(axis=1), 0) / grid.qmin)
    empty = ~(whole > 0)
    whole = np.where(empty, 1.0, whole)
    best = half_scale(whole).astype(np.float64)
    error, fitted = tried(best)

    def take(scale: Any, number: Any, allowed: Any) -> Any:
        """Where a scale is better than the best so far; it is the best then."""
        nonlocal best, error, fitted, at
        scale = half_scale(scale).astype(np.float64)
        other, refit = tried(np.where(scale > 0, scale, 1.0))
        better = (other < error) & (scale > 0) & allowed
        best, error, fitted = (np.where(better, new, old) for new, old in ((scale, best), (other, error), (refit, fitted)))
        at = np.where(better, number, at)
        return better

    last = candidates - 1
    at, going = np.full(len(w), last), np.ones(len(w), bool)
    for number in range(0, last, COARSE):
        take(whole * share_of(number, candidates, least), np.full(len(w), number), True)
    near = at.copy()
    for number in (near + offset for offset in (range(1 - COARSE, COARSE) if last else ())):
        take(whole * share_of(number, candidates, least), number, (number >= 0) & (number < last))
    for _ in range(FITS if candidates > 1 else 0):
        going = take(fitted, at, going)
    return np.where(empty, 1.0, best)


def share_of(number: Any, candidates: int, least: float) -> Any:
    """Of the whole range, that a candidate clips to."""
    return least + (1.0 - least) * number / (candidates - 1)


def _fit(gram: Any, target: Any, grid: RowGrid, scales: Any, integers: Any) -> None:
    import numpy as np

    groups = scales.shape[1]
    for o in range(len(scales)):
        parts = np.zeros((target.shape[1], groups))
        for g in range(groups):
            part = slice(g * grid.group, (g + 1) * grid.group)
            parts[part, g] = integers[o, part]
        form, wanted = parts.T @ gram @ parts, parts.T @ (gram @ target[o])
        ridge = RIDGE * np.trace(form) / groups
        if not ridge > 0 or not np.isfinite(ridge):
            continue
        before = scales[o].astype(np.float64)
        fitted = half_scale(np.linalg.solve(form + ridge * np.eye(groups), wanted + ridge * before)).astype(np.float64)
        after = np.where((fitted > 0.5 * before) & (fitted < 2.0 * before), fitted, before)
        if after @ (form @ after - 2 * wanted) < before @ (form @ before - 2 * wanted):
            scales[o] = after


def _sweep(gram: Any, target: Any, grid: RowGrid, scales: Any, integers: Any) -> None:
    import numpy as np

    steps = spread(scales, grid, target.shape[1])
    slopes = (target - integers * steps) @ gram
    for o in range(len(target)):
        for k in np.flatnonzero(np.diag(gram) > 0):
            step = steps[o, k]
            better = np.clip(np.rint(integers[o, k] + slopes[o, k] / (gram[k, k] * step)), grid.qmin, grid.qmax)
            if better != integers[o, k]:
                slopes[o] -= gram[k] * ((better - integers[o, k]) * step)
                integers[o, k] = better
