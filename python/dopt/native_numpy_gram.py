"""Layers on Gram matrices in numpy, where the native library is missing: the methods of ``GramCalls``, slower.

The formulas are those of native/include/dopt.h; sums are ordered differently, so last bits differ.
"""

from __future__ import annotations

from typing import Any

from .native_gram import Conv2d, LayerSums, WeightGrid


class NumpyGram:
    """The methods of ``NumpyCore`` for layers on Gram matrices."""

    def gram_conv2d(self, conv: Conv2d, x: Any, y: Any, positions: int, first: int, sums: LayerSums) -> None:
        """Adds one sample of a convolution; see ``GramCalls``."""
        import numpy as np

        groups, outputs = sums.cross.shape[:2]
        used = _spread(conv.out_height * conv.out_width, positions, conv.out_width, first)
        rows = _patches(conv, x, used).reshape(len(used), groups, -1)
        values = y.reshape(groups, outputs, -1)[:, :, used].astype(np.float64)
        for group in range(groups):
            _add(rows[:, group], values[group].T, LayerSums(*(each[group] for each in sums)))

    def gram_matmul(self, x: Any, y: Any, sums: LayerSums) -> None:
        """Adds the rows of a matrix product; see ``GramCalls``."""
        import numpy as np

        _add(x.astype(np.float64), y.astype(np.float64), LayerSums(*(each[0] for each in sums)))

    def gram_reconstruct(self, weights: Any, grid: WeightGrid, sums: LayerSums, ridge: float, damping: float) -> Any:
        """Integers that keep the layer's output; see ``GramCalls``."""
        import numpy as np

        groups = range(weights.shape[0])
        return np.stack([_reconstruct(weights[g], _scales(grid, g, weights), grid, sums, g, ridge, damping) for g in groups])

    def gram_bias(self, integers: Any, grid: WeightGrid, sums: LayerSums) -> Any:
        """The bias with which the mean error is zero; see ``GramCalls``."""
        import numpy as np

        inputs = sums.gram[:, -1, :-1]
        counts = np.maximum(sums.gram[:, -1, -1], 1)[:, None]
        return (sums.cross[:, :, -1] - np.einsum("gok,gk->go", _dequantized(integers, grid), inputs)) / counts

    def gram_error(self, integers: Any, grid: WeightGrid, sums: LayerSums, bias: Any) -> Any:
        """Squared error over all positions; see ``GramCalls``."""
        import numpy as np

        weights = _dequantized(integers, grid)
        last = np.zeros(weights.shape[:2]) if bias is None else bias
        full = np.concatenate([weights, last[:, :, None]], axis=2)
        form = ((full @ sums.gram) * full).sum(axis=2) - 2 * (full * sums.cross).sum(axis=2)
        return np.maximum(0.0, sums.power + form)


def _add(x: Any, y: Any, sums: LayerSums) -> None:
    """x float64 [rows, inputs], y float64 [rows, outputs]; the sums of one group."""
    import numpy as np

    full = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    sums.gram[...] += full.T @ full
    sums.cross[...] += y.T @ full
    sums.power[...] += (y * y).sum(axis=0)


def _spread(total: int, wanted: int, width: int, first: int) -> Any:
    """Evenly spread positions, as native/src/gram.cc chooses them."""
    import math

    import numpy as np

    step = max(1, -(-total // wanted))
    while step > 1 and math.gcd(step, width) != 1:
        step += 1
    return np.arange(first % step, total, step)


def _patches(conv: Conv2d, x: Any, used: Any) -> Any:
    """float64 [positions, channels * kernel_height * kernel_width] of x[channels, height, width]."""
    import numpy as np

    s = conv.shape
    x = x.reshape(s["in_channels"], s["in_height"], s["in_width"])
    taps = []
    for kh in range(s["kernel_height"]):
        for kw in range(s["kernel_width"]):
            h = _sources(used // conv.out_width, kh, "height", "top", conv)
            v = _sources(used % conv.out_width, kw, "width", "left", conv)
            inside = (h >= 0) & (v >= 0)
            taps.append(np.where(inside, x[:, np.maximum(h, 0), np.maximum(v, 0)], 0.0))
    return np.stack(taps, axis=1).transpose(2, 0, 1).reshape(len(used), -1).astype(np.float64)


def _sources(out: Any, tap: int, axis: str, side: str, conv: Conv2d) -> Any:
    """Input coordinates that a tap reads for output coordinates; -1 outside the input."""
    import numpy as np

    s = conv.shape
    stride, dilation, pad, size = s["stride_" + axis], s["dilation_" + axis], s["pad_" + side], s["in_" + axis]
    if conv.transposed:
        at = out + pad - tap * dilation
        inside = (at >= 0) & (at % stride == 0)
        at = at // stride
    else:
        at = out * stride - pad + tap * dilation
        inside = at >= 0
    return np.where(inside & (at < size), at, -1)


def _scales(grid: WeightGrid, group: int, weights: Any) -> Any:
    """float64 [outputs, inputs]: the scale of each weight of a group."""
    import numpy as np

    return np.repeat(grid.scales[group].astype(np.float64), grid.span, axis=1)[:, : weights.shape[2]]


def _dequantized(integers: Any, grid: WeightGrid) -> Any:
    import numpy as np

    return np.stack([integers[g] * _scales(grid, g, integers) for g in range(len(integers))])


def _reconstruct(w: Any, scales: Any, grid: WeightGrid, sums: LayerSums, group: int, ridge: float, damping: float) -> Any:
    import numpy as np

    gram, cross = sums.gram[group], sums.cross[group]
    h, c = gram[:-1, :-1].copy(), cross[:, :-1].copy()
    if grid.free_bias:
        h -= np.outer(gram[:-1, -1] / gram[-1, -1], gram[-1, :-1])
        c -= np.outer(cross[:, -1] / gram[-1, -1], gram[-1, :-1])
    mean = np.trace(h) / len(h)
    w = w.astype(np.float64)
    nearest = np.clip(np.rint(w / scales), grid.qmin, grid.qmax).astype(np.int8)
    if not mean > 0 or not np.isfinite(mean):
        return nearest
    order = np.argsort(np.diag(h), kind="stable")
    target = w
    try:
        if ridge >= 0:
            target = np.linalg.solve(h + ridge * mean * np.eye(len(h)), (c + ridge * mean * w).T).T
        factor = np.linalg.cholesky(h[np.ix_(order, order)] + damping * mean * np.eye(len(h)))
    except np.linalg.LinAlgError:
        return nearest
    target, scales = target[:, order], scales[:, order]
    out, errors = np.zeros_like(nearest), np.zeros_like(target)
    for k in reversed(range(len(order))):
        owed = errors[:, k + 1 :] @ factor[k + 1 :, k] / factor[k, k]
        q = np.clip(np.rint((target[:, k] + owed) / scales[:, k]), grid.qmin, grid.qmax)
        out[:, order[k]] = q
        errors[:, k] = target[:, k] - q * scales[:, k]
    return out
