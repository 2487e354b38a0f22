"""The observers in numpy, for machines without the native library: the same methods, states and counts as native.py.

Everything but the order of floating summation is equal to the native core, bit by bit.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, Iterable

from .native_numpy_gram import NumpyGram
from .native_numpy_range import range_mse
from .native_numpy_rows import NumpyRows

# Elements handled at once, so that temporaries stay small whatever the tensor.
_CHUNK = 1 << 20


def fit_grid(low: float, high: float, bins: int) -> tuple[float, int]:
    """Width and base of the histogram of values within [low, high]; see dopt.h."""
    magnitude = max(abs(low), abs(high))
    if magnitude == 0.0:
        return 0.0, 0
    exponent = max(math.frexp(magnitude)[1] - 1 - 22, -126)
    needed = (high - low) / bins
    if needed > 0.0:
        exponent = max(exponent, math.frexp(needed)[1] - 1)
    while True:
        first = math.floor(math.ldexp(low, -exponent))
        if math.floor(math.ldexp(high, -exponent)) - first < bins:
            return math.ldexp(1.0, exponent), first
        exponent += 1


def _view(address: int, count: int) -> Any:
    import numpy as np

    if count == 0:
        return np.zeros(0, dtype=np.float32)
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))


def even_rows(integers: Any) -> Any:
    """int8 [N, K] with a column of zeros added where K is odd, contiguous."""
    import numpy as np

    return np.ascontiguousarray(np.pad(integers, ((0, 0), (0, integers.shape[1] % 2))), np.int8)


class NumpyCore(NumpyGram, NumpyRows):
    """Stands in for ``NativeCore``; ``detail`` says why that one is missing."""

    backend = "numpy"

    def __init__(self, detail: str = "") -> None:
        self.detail = detail

    def build_info(self) -> dict[str, Any]:
        """What computes: numpy and its version."""
        import numpy as np

        return {"backend": "numpy", "numpy": np.__version__, "threads": 1}

    def set_threads(self, threads: int) -> None:
        """Accepted and ignored: the numpy observers run on one thread."""

    def pack_int4(self, integers: Any) -> Any:
        """int8 [N, K] of -8..7 as uint8 [N, ceil(K / 2)], the first of two in the low nibble; rows begin at whole bytes."""
        import numpy as np

        nibbles = even_rows(integers).view(np.uint8) & 15
        return nibbles[:, 0::2] | (nibbles[:, 1::2] << 4)

    def unpack_int4(self, packed: Any, columns: int) -> Any:
        """What ``pack_int4`` packed: int8 [N, columns]."""
        import numpy as np

        nibbles = np.stack([packed & 15, packed >> 4], axis=-1).reshape(packed.shape[0], -1)[:, :columns]
        return (nibbles ^ 8).astype(np.int8) - 8

    def histograms(self, n: int, bins: int = 2048) -> "NumpyHistogramSet":
        """``n`` empty histograms of ``bins`` bins."""
        return NumpyHistogramSet(n, bins)

    def error_sums(self, a_address: int, b_address: int, count: int) -> tuple[float, float, float, float]:
        """Sums of a², (a − b)², a·b and b² in double over two float32 arrays."""
        import numpy as np

        totals = np.zeros(4)
        for start in range(0, count, _CHUNK):
            size = min(_CHUNK, count - start)
            a = _view(a_address + 4 * start, size).astype(np.float64)
            b = _view(b_address + 4 * start, size).astype(np.float64)
            difference = a - b
            totals += [a @ a, difference @ difference, a @ b, b @ b]
        return tuple(float(t) for t in totals)  # type: ignore[return-value]


    def fake_quantize(self, array: Any, axis: int, scales: Any, zero_points: Any, limits: tuple[int, int]) -> Any:
        """A float32 array rounded to a grid; see ``NativeCore.fake_quantize``."""
        import numpy as np

        array = np.asarray(array, np.float32)
        shape = [1] * array.ndim
        if len(scales) > 1:
            shape[axis] = len(scales)
        scale = np.reshape(np.asarray(scales, np.float32), shape)
        zero = np.reshape(np.asarray(zero_points, np.float32), shape)
        with np.errstate(invalid="ignore", over="ignore"):
            integers = np.rint(array / scale) + zero
        integers = np.where(np.isnan(array), zero, np.clip(integers, *np.float32(limits)))
        return ((integers - zero) * scale).astype(np.float32)


class NumpyHistogramSet:
    """States and counts of ``n`` tensors, fed by address."""

    def __init__(self, n: int, bins: int) -> None:
        import numpy as np

        if not 8 <= bins <= 1 << 20:
            raise ValueError("bins is %d, expected 8 to %d" % (bins, 1 << 20))
        self._counts = np.zeros((n, bins), dtype=np.uint64)
        self._states = [_empty_state(bins) for _ in range(n)]

    def update(self, chunks: Iterable[tuple[int, int, int]]) -> None:
        """Adds ``(index, address, count)`` float32 arrays; an index may come more than once."""
        for index, address, count in chunks:
            if not 0 <= index < len(self._states):
                raise IndexError("histogram %d of a set of %d" % (index, len(self._states)))
            for start in range(0, count, _CHUNK):
                self._add(index, _view(address + 4 * start, min(_CHUNK, count - start)))

    def _add(self, index: int, x: Any) -> None:
        import numpy as np

        state = self._states[index]
        finite = np.isfinite(x)
        if not finite.all():
            nans = int(np.isnan(x).sum())
            state["nans"] += nans
            state["infinities"] += int(x.size - finite.sum()) - nans
            x = x[finite]
        if x.size == 0:
            return
        self._widen(index, float(x.min()), float(x.max()))
        wide = x.astype(np.float64)
        state["count"] += int(x.size)
        state["sum"] += float(wide.sum())
        state["sumSquares"] += float(wide @ wide)
        wide = wide[wide != 0.0]
        state["zeros"] += int(x.size - wide.size)
        grid = state["histogram"]
        if wide.size:
            slots = np.floor(wide / grid["width"]).astype(np.int64) - grid["base"]
            self._counts[index] += np.bincount(slots, minlength=grid["bins"]).astype(np.uint64)

    def _widen(self, index: int, low: float, high: float) -> None:
        """Gives the state the grid of its range extended by [low, high]."""
        state = self._states[index]
        if state["count"]:
            low, high = min(low, state["min"]), max(high, state["max"])
        old = state["histogram"]
        width, base = fit_grid(low, high, old["bins"])
        if old["width"] and (width, base) != (old["width"], old["base"]):
            self._counts[index] = _rebin(self._counts[index], old, width, base)
        state["histogram"] = {"base": base, "width": width, "bins": old["bins"]}
        state["min"], state["max"] = low + 0.0, high + 0.0

    def merge(self, other: "NumpyHistogramSet") -> None:
        """Adds everything ``other`` has seen, tensor by tensor."""
        if other is self or len(other._states) != len(self._states):
            raise ValueError("only another set of %d histograms can be merged" % len(self._states))
        for index, theirs in enumerate(other._states):
            state = self._states[index]
            if theirs["histogram"]["bins"] != state["histogram"]["bins"]:
                raise ValueError("the sets have different numbers of bins")
            if theirs["count"]:
                self._widen(index, theirs["min"], theirs["max"])
                grid = state["histogram"]
                if theirs["histogram"]["width"]:
                    self._counts[index] += _rebin(
                        other._counts[index], theirs["histogram"], grid["width"], grid["base"]
                    )
            for name in ("count", "zeros", "nans", "infinities", "sum", "sumSquares"):
                state[name] += theirs[name]

    def states(self) -> list[dict[str, Any]]:
        """One JSON-ready dict a tensor, as in statistics.json."""
        return [{**state, "histogram": dict(state["histogram"])} for state in self._states]

    def nonfinite(self) -> Any:
        """NaN and infinities seen so far, uint64 [n]."""
        import numpy as np

        return np.array([state["nans"] + state["infinities"] for state in self._states], dtype=np.uint64)

    def counts(self) -> Any:
        """A copy of the counts, uint64 [n, bins]."""
        return self._counts.copy()

    def range_mse(self, index: int, bits: int, signed: bool, symmetric: bool) -> tuple[float, float]:
        """The clip (low, high) of tensor ``index`` with the least squared error."""
        return range_mse(self._states[index], self._counts[index], bits, signed, symmetric)

    def restore(self, states: list[dict[str, Any]], counts: Any) -> None:
        """Puts back what ``states()`` and ``counts()`` gave, for a run that goes on after an interruption."""
        check_saved(states, counts, self._counts.shape)
        self._counts[:] = counts
        names = self._states[0].keys() if states else ()
        self._states = [
            {**{name: saved[name] for name in names}, "histogram": dict(saved["histogram"])} for saved in states
        ]


def check_saved(states: list[dict[str, Any]], counts: Any, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless saved states and counts fit one another and a set of this shape, [n, bins]."""
    if len(states) != shape[0] or tuple(counts.shape) != tuple(shape):
        raise ValueError("states and counts of another set of histograms: expected %s" % (shape,))
    for index, (state, row) in enumerate(zip(states, counts)):
        grid = state["histogram"]
        width, base = fit_grid(state["min"], state["max"], shape[1])
        if grid["bins"] != shape[1] or (width, base) != (grid["width"], grid["base"]):
            raise ValueError("saved histogram %d: bins, width or base do not belong to its range" % index)
        if int(row.sum()) != state["count"] - state["zeros"]:
            raise ValueError("saved histogram %d: the counts do not add up" % index)


def _empty_state(bins: int) -> dict[str, Any]:
    return {
        "count": 0,
        "zeros": 0,
        "nans": 0,
        "infinities": 0,
        "min": 0.0,
        "max": 0.0,
        "sum": 0.0,
        "sumSquares": 0.0,
        "histogram": {"base": 0, "width": 0.0, "bins": bins},
    }


def _rebin(counts: Any, old: dict[str, Any], width: float, base: int) -> Any:
    """Counts of the grid ``old`` moved to a wider or shifted grid that holds them all."""
    import numpy as np

    shift = min(math.frexp(width)[1] - math.frexp(old["width"])[1], 63)
    used = np.flatnonzero(counts)
    moved = np.zeros_like(counts)
    np.add.at(moved, ((used + old["base"]) >> shift) - base, counts[used])
    return moved
