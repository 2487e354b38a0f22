"""The native core for Python: ctypes over ``libdopt``, numpy where the library is missing.

Use::

    core = native.load()                      # NativeCore or NumpyCore, the same methods
    seen = core.histograms(n=3, bins=2048)    # HistogramSet: n states that widen as data comes
    seen.update([(0, array.ctypes.data, array.size), (2, address, count)])   # one C call, no copy
    seen.states()    # list of dicts in the shape of statistics.json's tensors (without "tensor")
    seen.counts()    # uint64 array [n, bins]
    seen.merge(other); seen.restore(states, counts)
    seen.range_mse(0, bits=8, signed=False, symmetric=False)   # (low, high)
    core.error_sums(a_address, b_address, count)   # (signal, noise, dot, power_b)
    core.gram_matmul(x, y, sums); core.gram_reconstruct(weights, grid, sums, ridge, damping)   # native_gram.py
    core.group_scales(weights, grid, importance, 80, 0.4); core.gram_round(order, factor, target, grid, scales)   # native_rows.py
    core.set_threads(2)

Addresses are those of contiguous float32 memory that stays alive during the call; the calls release the
interpreter lock. The library is looked for at ``DOPT_NATIVE_LIB``, then in the package, where pip builds it, and then in
``native/build/lib`` and ``native/prebuilt`` beside this package's folder. ``core.backend`` is ``"native"`` or ``"numpy"``,
``core.detail`` says which file was loaded or why none was.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any, Iterable

from .errors import DoptError
from .native_abi import ABI_VERSION, SIGNATURES, HistogramState
from .native_gram import GramCalls
from .native_numpy import NumpyCore, check_saved, even_rows
from .native_rows import RowCalls

DEFAULT_BINS = 2048


class NativeLibraryError(RuntimeError):
    """The library cannot be used; the text says why."""


class NativeCore(GramCalls, RowCalls):
    """``libdopt`` at ``path``. Raises NativeLibraryError when it is not the library this file was written for."""

    backend = "native"

    def __init__(self, path: str) -> None:
        try:
            self._lib = ctypes.CDLL(path)
            for name, (result, arguments) in SIGNATURES.items():
                function = getattr(self._lib, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise NativeLibraryError("%s cannot be loaded: %s" % (path, error)) from error
        found = self._lib.dopt_abi_version()
        if found != ABI_VERSION:
            raise NativeLibraryError(
                "%s has interface version %d, this dopt needs %d: run npm run build:native"
                % (path, found, ABI_VERSION)
            )
        self.detail = path

    def build_info(self) -> dict[str, Any]:
        """Instruction set, compiler and thread count of the library."""
        return json.loads(self._lib.dopt_build_info().decode())

    def set_threads(self, threads: int) -> None:
        """Threads used by ``HistogramSet.update``; 0 means one a processor."""
        self._call("dopt_set_threads", threads)

    def histograms(self, n: int, bins: int = DEFAULT_BINS) -> "HistogramSet":
        """``n`` empty histograms of ``bins`` bins."""
        return HistogramSet(self, n, bins)

    def error_sums(self, a_address: int, b_address: int, count: int) -> tuple[float, float, float, float]:
        """Sums of a², (a − b)², a·b and b² in double over two float32 arrays."""
        sums = [ctypes.c_double() for _ in range(4)]
        self._call("dopt_error_sums", a_address, b_address, count, *[ctypes.byref(s) for s in sums])
        return tuple(s.value for s in sums)  # type: ignore[return-value]

    def fake_quantize(self, array: Any, axis: int, scales: Any, zero_points: Any, limits: tuple[int, int]) -> Any:
        """A float32 array rounded to a grid: quantized to integers within ``limits`` and back, as a new array.

        ``scales`` (float32) and ``zero_points`` (int32) have one element, or one for each index along ``axis``.
        """
        import numpy as np

        array = np.ascontiguousarray(array, np.float32)
        rounded = np.empty_like(array)
        if len(scales) == 1:
            grid = (float(scales[0]), int(zero_points[0]), *limits)
            self._call("dopt_fake_quantize", array.ctypes.data, array.size, *grid, rounded.ctypes.data)
            return rounded
        axis %= array.ndim
        outer, inner = (int(np.prod(shape)) for shape in (array.shape[:axis], array.shape[axis + 1 :]))
        view = (array.ctypes.data, outer, len(scales), inner)
        grids = (np.ascontiguousarray(scales, np.float32), np.ascontiguousarray(zero_points, np.int32))
        addresses = [each.ctypes.data for each in grids]
        self._call("dopt_fake_quantize_channels", *view, *addresses, *limits, rounded.ctypes.data)
        return rounded

    def pack_int4(self, integers: Any) -> Any:
        """int8 [N, K] of -8..7 as uint8 [N, ceil(K / 2)], the first of two in the low nibble; rows begin at whole bytes."""
        import numpy as np

        even = even_rows(integers)
        packed = np.empty((even.shape[0], even.shape[1] // 2), np.uint8)
        self._call("dopt_pack_int4", even.ctypes.data, even.size, packed.ctypes.data)
        return packed

    def unpack_int4(self, packed: Any, columns: int) -> Any:
        """What ``pack_int4`` packed: int8 [N, columns]."""
        import numpy as np

        packed = np.ascontiguousarray(packed)
        integers = np.empty((packed.shape[0], packed.shape[1] * 2), np.int8)
        self._call("dopt_unpack_int4", packed.ctypes.data, integers.size, integers.ctypes.data)
        return integers if columns == integers.shape[1] else np.ascontiguousarray(integers[:, :columns])

    def _call(self, name: str, *arguments: Any) -> None:
        if getattr(self._lib, name)(*arguments) != 0:
            raise DoptError(
                "NATIVE_FAILED",
                "%s: %s" % (name, self._lib.dopt_last_error().decode()),
                kind="external",
                place=self.detail,
            )


def state_of(s: HistogramState) -> dict[str, Any]:
    """A histogram's state as in statistics.json."""
    return {
        "count": s.count,
        "zeros": s.zeros,
        "nans": s.nans,
        "infinities": s.infinities,
        "min": s.min,
        "max": s.max,
        "sum": s.sum,
        "sumSquares": s.sum_squares,
        "histogram": {"base": s.base, "width": s.width, "bins": s.bins},
    }


class HistogramSet:
    """States and counts of ``n`` tensors, fed by address. Not for several threads at once."""

    def __init__(self, core: NativeCore, n: int, bins: int) -> None:
        import numpy as np

        self._core = core
        self._n = n
        self._states = (HistogramState * n)()
        self._fields = np.ctypeslib.as_array(self._states)
        self._counts = np.zeros((n, bins), dtype=np.uint64)
        for state in self._states:
            core._call("dopt_histogram_init", ctypes.byref(state), bins)
        rows = self._counts.ctypes.data + np.arange(n, dtype=np.uint64) * np.uint64(8 * bins)
        self._rows = rows.astype(np.uint64)
        self._addresses = np.zeros(n, dtype=np.uint64)
        self._sizes = np.zeros(n, dtype=np.uint64)

    def update(self, chunks: Iterable[tuple[int, int, int]]) -> None:
        """Adds ``(index, address, count)`` float32 arrays; an index may come more than once."""
        filled: set[int] = set()
        for index, address, count in chunks:
            if not 0 <= index < self._n:
                raise IndexError("histogram %d of a set of %d" % (index, self._n))
            if index in filled:
                self._flush()
                filled.clear()
            filled.add(index)
            self._addresses[index] = address
            self._sizes[index] = count
        if filled:
            self._flush()

    def _flush(self) -> None:
        try:
            self._core._call(
                "dopt_histogram_update_many",
                self._states,
                self._rows.ctypes.data,
                self._addresses.ctypes.data,
                self._sizes.ctypes.data,
                self._n,
            )
        finally:
            self._sizes[:] = 0

    def merge(self, other: "HistogramSet") -> None:
        """Adds everything ``other`` has seen, tensor by tensor."""
        if other is self or other._n != self._n:
            raise ValueError("only another set of %d histograms can be merged" % self._n)
        for i in range(self._n):
            self._core._call(
                "dopt_histogram_merge",
                ctypes.byref(self._states[i]),
                int(self._rows[i]),
                ctypes.byref(other._states[i]),
                int(other._rows[i]),
            )

    def states(self) -> list[dict[str, Any]]:
        """One JSON-ready dict a tensor, as in statistics.json."""
        return [state_of(each) for each in self._states]

    def nonfinite(self) -> Any:
        """NaN and infinities seen so far, uint64 [n]; cheap enough to ask after every update."""
        return self._fields["nans"] + self._fields["infinities"]

    def counts(self) -> Any:
        """A copy of the counts, uint64 [n, bins]."""
        return self._counts.copy()

    def range_mse(self, index: int, bits: int, signed: bool, symmetric: bool) -> tuple[float, float]:
        """The clip (low, high) of tensor ``index`` with the least squared error (``dopt_range_mse``)."""
        low, high, error = ctypes.c_double(), ctypes.c_double(), ctypes.c_double()
        results = (ctypes.byref(low), ctypes.byref(high), ctypes.byref(error))
        state = ctypes.byref(self._states[index])
        self._core._call("dopt_range_mse", state, int(self._rows[index]), bits, int(signed), int(symmetric), *results)
        return low.value, high.value

    def restore(self, states: list[dict[str, Any]], counts: Any) -> None:
        """Puts back what ``states()`` and ``counts()`` gave, for a run that goes on after an interruption."""
        check_saved(states, counts, self._counts.shape)
        self._counts[:] = counts
        for s, saved in zip(self._states, states):
            s.base, s.width = saved["histogram"]["base"], saved["histogram"]["width"]
            for name in ("count", "zeros", "nans", "infinities", "min", "max", "sum"):
                setattr(s, name, saved[name])
            s.sum_squares = saved["sumSquares"]


_core: NativeCore | NumpyCore | None = None


def candidates() -> list[str]:
    """Files ``load`` tries, in order. ``DOPT_NATIVE_LIB`` alone where it is set; none where dopt was installed without one."""
    override = os.environ.get("DOPT_NATIVE_LIB")
    if override:
        return [override]
    name = "libdopt.dylib" if sys.platform == "darwin" else "libdopt.so"
    machine = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = Path(__file__).resolve().parent
    installed, tree = package / "lib" / name, package.parents[1] / "native"
    if installed.exists():
        return [str(installed)]
    if not (tree / "include" / "dopt.h").exists():
        return []
    return [str(tree / "build" / "lib" / name), str(tree / "prebuilt" / f"{sys.platform}-{machine}" / name)]


def load() -> NativeCore | NumpyCore:
    """The native core, or the numpy one after a single warning on stderr. Kept for the life of the process."""
    global _core
    if _core is None:
        reasons = []
        for path in candidates():
            try:
                _core = NativeCore(path)
                return _core
            except NativeLibraryError as error:
                reasons.append(str(error))
        detail = "; ".join(reasons) or "dopt was installed where there was no C++ compiler; install one, then dopt again"
        print("dopt: native core unavailable, using numpy (slower): %s" % detail, file=sys.stderr)
        _core = NumpyCore(detail)
    return _core
