"""The CUDA core for Python: ctypes over ``libdopt_cuda`` on arrays where they are (device_arrays.py).

Use::

    core = native_cuda.load()                          # CudaCore, or None where there is no library or no device
    core.quantize(x, 0.02, 128, out)                   # x float32, out uint8: torch, CuPy, ... tensors on one GPU
    core.histogram_update(states, counts, [x, y])      # a histogram a tensor, no copy to the host
    core.gram_matmul(x, None, LayerSums(gram, None, None))   # x bfloat16 [rows, inputs], gram float64 [1, K, K]
    with core.on(torch.cuda.current_stream().cuda_stream): ...   # the stream of the calls within

The library writes into arrays that the caller made; nothing is allocated here. Calls enqueue and return: ``synchronize`` waits
and raises what failed. ``unavailable()`` says why ``load`` gives None. The library is looked for at ``DOPT_NATIVE_CUDA_LIB`` and
then in ``native/build/lib``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
from pathlib import Path
from typing import Any, Iterator, Sequence

from .device_arrays import DeviceView, view_of
from .errors import DoptError
from .native_abi import Conv2dShape, HistogramState
from .native_cuda_abi import CUDA_ABI_VERSION, CUDA_SIGNATURES, TYPES
from .native_gram import Conv2d, LayerSums, WeightGrid, layer_of

STATE_BYTES = ctypes.sizeof(HistogramState)

_SUFFIXES = {"uint8": "u8", "int8": "i8", "uint16": "u16", "int16": "i16", "int32": "i32"}


class CudaLibraryError(RuntimeError):
    """The library cannot be used; the text says why."""


class CudaCore:
    """``libdopt_cuda`` at ``path``. Raises CudaLibraryError when it cannot be loaded or there is no device for it."""

    def __init__(self, path: str) -> None:
        try:
            self._lib = ctypes.CDLL(path)
            for name, (result, arguments) in CUDA_SIGNATURES.items():
                function = getattr(self._lib, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise CudaLibraryError("%s cannot be loaded: %s" % (path, error)) from error
        found = self._lib.dopt_cuda_abi_version()
        if found != CUDA_ABI_VERSION:
            raise CudaLibraryError(
                "%s has interface version %d, this dopt needs %d: run npm run build:cuda" % (path, found, CUDA_ABI_VERSION)
            )
        self.detail = path
        self._stream = 0
        self.devices = self._find_devices()

    def build_info(self) -> dict[str, Any]:
        """Interface version, CUDA release and architectures of the library."""
        return json.loads(self._lib.dopt_cuda_build_info().decode())

    @contextlib.contextmanager
    def on(self, stream: int) -> Iterator[None]:
        """Makes a cudaStream_t, as an integer, the stream of the calls within; outside it is the default one."""
        before, self._stream = self._stream, stream
        try:
            yield
        finally:
            self._stream = before

    def synchronize(self) -> None:
        """Waits for the stream; raises what failed in it."""
        self._call("dopt_cuda_synchronize")

    # ---- Observers and ranges

    def min_max(self, x: Any, extremes: Any) -> None:
        """float32 extremes[2] of the finite values of x (float32, float16 or bfloat16)."""
        x, out = view_of(x), view_of(extremes, "float32")
        self._call("dopt_cuda_min_max", x.address, _type(x), x.size, out.address)

    def histogram_init(self, states: Any, counts: Any) -> None:
        """Empty histograms: states uint8 [n, STATE_BYTES], counts int64 (or uint64) [n, bins]."""
        states, counts = view_of(states), view_of(counts)
        n, bins = counts.shape
        for i in range(n):
            at = (states.address + i * STATE_BYTES, counts.address + i * bins * 8)
            self._call("dopt_cuda_histogram_init", *at, bins)

    def histogram_update(self, states: Any, counts: Any, tensors: Sequence[Any]) -> None:
        """Adds tensors[i] to histogram i; None leaves one as it is. All tensors are of one type."""
        states, counts = view_of(states), view_of(counts)
        n, bins = counts.shape
        if len(tensors) != n:
            raise ValueError("%d tensors for %d histograms" % (len(tensors), n))
        views = [None if each is None else view_of(each) for each in tensors]
        types = {_type(each) for each in views if each is not None}
        if len(types) > 1:
            raise ValueError("the tensors of one update are of several types")
        addresses = (ctypes.c_void_p * n)(*[None if each is None else each.address for each in views])
        sizes = (ctypes.c_size_t * n)(*[0 if each is None else each.size for each in views])
        type_code = types.pop() if types else 0
        self._call(
            "dopt_cuda_histogram_update_many", states.address, counts.address, bins, addresses, type_code, sizes, n
        )

    def range_mse(self, states: Any, counts: Any, bits: int, signed: bool, symmetric: bool, ranges: Any) -> None:
        """float64 ranges[3, n]: low, high and expected squared error of each histogram's best clip."""
        states, counts, out = view_of(states), view_of(counts), view_of(ranges, "float64")
        n, bins = counts.shape
        rows = [out.address + 8 * n * row for row in range(3)]
        self._call(
            "dopt_cuda_range_mse", states.address, counts.address, bins, n, bits, int(signed), int(symmetric), *rows
        )

    # ---- Elementwise

    def quantize(self, x: Any, scale: float, zero_point: int, out: Any) -> None:
        """x float32 to integers of out's type: uint8, int8, uint16 or int16."""
        x, out = view_of(x, "float32"), view_of(out)
        _as_large(out, x)
        name = "dopt_cuda_quantize_" + _suffix(out)
        self._call(name, x.address, x.size, scale, zero_point, out.address)

    def dequantize(self, q: Any, scale: float, zero_point: int, out: Any) -> None:
        """Integers q (of 8, 16 or 32 bits) to float32."""
        q, out = view_of(q), view_of(out, "float32")
        _as_large(out, q)
        self._call("dopt_cuda_dequantize_" + _suffix(q), q.address, q.size, scale, zero_point, out.address)

    def fake_quantize(
        self, x: Any, axis: int, scales: Any, zero_points: Any, limits: tuple[int, int], out: Any
    ) -> None:
        """x float32 rounded to a grid. scales and zero_points: two numbers, or device arrays (float32, int32) along axis."""
        x, out = view_of(x, "float32"), view_of(out, "float32")
        _as_large(out, x)
        if isinstance(scales, (int, float)):
            self._call("dopt_cuda_fake_quantize", x.address, x.size, scales, zero_points, *limits, out.address)
            return
        grid = (view_of(scales, "float32").address, view_of(zero_points, "int32").address)
        self._call("dopt_cuda_fake_quantize_channels", x.address, *_view(x, axis), *grid, *limits, out.address)

    def quantize_channels(self, w: Any, axis: int, scales: Any, out: Any) -> None:
        """w float32 to int8 within -127..127, float32 scales along an axis."""
        w, out = view_of(w, "float32"), view_of(out, "int8")
        _as_large(out, w)
        given = (view_of(scales, "float32").address, out.address)
        self._call("dopt_cuda_quantize_i8_channels", w.address, *_view(w, axis), *given)

    def channel_absmax(self, w: Any, axis: int, absmax: Any) -> None:
        """float32 absmax along an axis: the largest finite magnitude of each channel of w (float32)."""
        w = view_of(w, "float32")
        out = view_of(absmax, "float32").address
        self._call("dopt_cuda_channel_absmax", w.address, *_view(w, axis), out)

    def error_sums(self, a: Any, b: Any, sums: Any) -> None:
        """float64 sums[4] of a², (a − b)², a·b and b² over float32 arrays."""
        a, b = view_of(a, "float32"), view_of(b, "float32")
        _as_large(b, a)
        self._call("dopt_cuda_error_sums", a.address, b.address, a.size, view_of(sums, "float64").address)

    def pack_int4(self, x: Any, out: Any, outside: Any = None) -> None:
        """int8 values of -8..7, two a byte of out (uint8). ``outside`` (int64 [1]): how many were beyond."""
        x, packed = view_of(x, "int8"), view_of(out, "uint8")
        _require(packed.size == (x.size + 1) // 2, "%d bytes for %d values" % (packed.size, x.size))
        bad = None if outside is None else view_of(outside, "int64").address
        self._call("dopt_cuda_pack_int4", x.address, x.size, packed.address, bad)

    def unpack_int4(self, packed: Any, out: Any) -> None:
        """The inverse; out int8."""
        packed, out = view_of(packed, "uint8"), view_of(out, "int8")
        _require(packed.size == (out.size + 1) // 2, "%d bytes for %d values" % (packed.size, out.size))
        self._call("dopt_cuda_unpack_int4", packed.address, out.size, out.address)

    # ---- Layers on Gram matrices: LayerSums and WeightGrid of native_gram with device arrays in them

    def gram_matmul(self, x: Any, y: Any, sums: LayerSums) -> None:
        """Adds the rows of x[rows, inputs] and y[rows, outputs], both of one float type; y None: gram alone."""
        x = view_of(x)
        rows, inputs = x.shape
        target = None if y is None else view_of(y, x.dtype)
        outputs = 1 if target is None else target.shape[1]
        _require(target is None or target.shape[0] == rows, "x and y have different rows")
        _sized(sums, 1, outputs, inputs)
        address = None if target is None else target.address
        self._call("dopt_cuda_gram_matmul", x.address, address, _type(x), rows, inputs, outputs, *_addresses(sums))

    def gram_conv2d(self, conv: Conv2d, x: Any, y: Any, positions: int, first: int, sums: LayerSums) -> None:
        """Adds a batch, x[batch, channels, height, width] and y likewise; conv.shape["batch"] says how many."""
        shape = Conv2dShape(ctypes.sizeof(Conv2dShape), **conv.shape)
        x = view_of(x)
        y = view_of(y, x.dtype)
        batch, groups = shape.batch, shape.groups
        _require(x.size == batch * shape.in_channels * shape.in_height * shape.in_width, "x does not fit the shape")
        _require(
            y.size == batch * shape.out_channels * conv.out_height * conv.out_width, "y does not fit the shape"
        )
        inputs = shape.in_channels // groups * shape.kernel_height * shape.kernel_width
        _sized(sums, groups, shape.out_channels // groups, inputs)
        out = (conv.out_height, conv.out_width)
        given = (x.address, y.address, _type(x), positions, first)
        self._call(
            "dopt_cuda_gram_conv2d", ctypes.byref(shape), int(conv.transposed), *out, *given, *_addresses(sums)
        )

    def gram_reconstruct(
        self, weights: Any, grid: WeightGrid, sums: LayerSums, ridge: float, damping: float, out: Any
    ) -> None:
        """int8 out for float32 weights, both [groups, outputs, inputs]; a negative ridge rounds them as they are."""
        weights, out = view_of(weights, "float32"), view_of(out, "int8")
        _as_large(out, weights)
        _sized(sums, *weights.shape)
        given = (weights.address, _scales(grid, weights.shape), ridge, damping, out.address)
        self._call("dopt_cuda_gram_reconstruct", layer_of(weights.shape, grid), *_addresses(sums)[:2], *given)

    def gram_bias(self, integers: Any, grid: WeightGrid, sums: LayerSums, bias: Any) -> None:
        """float64 bias[groups, outputs] with which the mean error is zero."""
        integers = view_of(integers, "int8")
        _sized(sums, *integers.shape)
        given = (integers.address, _scales(grid, integers.shape), view_of(bias, "float64").address)
        self._call("dopt_cuda_gram_bias", layer_of(integers.shape, grid), *_addresses(sums)[:2], *given)

    def gram_error(self, integers: Any, grid: WeightGrid, sums: LayerSums, bias: Any, error: Any) -> None:
        """float64 error[groups, outputs]: squared error over all positions with this bias (None: zero)."""
        integers = view_of(integers, "int8")
        _sized(sums, *integers.shape)
        added = None if bias is None else view_of(bias, "float64").address
        given = (integers.address, _scales(grid, integers.shape), added, view_of(error, "float64").address)
        self._call("dopt_cuda_gram_error", layer_of(integers.shape, grid), *_addresses(sums), *given)

    def _find_devices(self) -> list[dict[str, Any]]:
        count = ctypes.c_int32()
        if self._lib.dopt_cuda_device_count(ctypes.byref(count)) != 0 or count.value == 0:
            raise CudaLibraryError(self._lib.dopt_cuda_last_error().decode() or "the driver shows no device")
        devices, text = [], ctypes.create_string_buffer(512)
        for device in range(count.value):
            if self._lib.dopt_cuda_device_info(device, text, len(text)) == 0:
                devices.append({"index": device, **json.loads(text.value.decode())})
        if not devices:
            raise CudaLibraryError(self._lib.dopt_cuda_last_error().decode())
        return devices

    def _call(self, name: str, *arguments: Any) -> None:
        if getattr(self._lib, name)(*arguments, self._stream) != 0:
            text = "%s: %s" % (name, self._lib.dopt_cuda_last_error().decode())
            raise DoptError("NATIVE_FAILED", text, kind="external", place=self.detail)


def _require(condition: bool, why: str) -> None:
    if not condition:
        raise ValueError(why)


def _as_large(array: DeviceView, other: DeviceView) -> None:
    _require(array.size == other.size, "arrays of %d and %d elements" % (array.size, other.size))


def _type(view: DeviceView) -> int:
    _require(view.dtype in TYPES, "elements of %s, expected one of %s" % (view.dtype, ", ".join(TYPES)))
    return TYPES[view.dtype]


def _suffix(view: DeviceView) -> str:
    _require(view.dtype in _SUFFIXES, "elements of %s, expected one of %s" % (view.dtype, ", ".join(_SUFFIXES)))
    return _SUFFIXES[view.dtype]


def _view(array: DeviceView, axis: int) -> tuple[int, int, int]:
    """(outer, channels, inner) of an array seen along an axis."""
    axis %= len(array.shape)
    outer = inner = 1
    for extent in array.shape[:axis]:
        outer *= extent
    for extent in array.shape[axis + 1 :]:
        inner *= extent
    return outer, array.shape[axis], inner


def _sized(sums: LayerSums, groups: int, outputs: int, inputs: int) -> None:
    k = inputs + 1
    for array, size in zip(sums, (groups * k * k, groups * outputs * k, groups * outputs)):
        _require(array is None or view_of(array).size == size, "sums do not fit %d groups of %d x %d" % (groups, outputs, inputs))


def _addresses(sums: LayerSums) -> list[int | None]:
    return [None if each is None else view_of(each, "float64").address for each in sums]


def _scales(grid: WeightGrid, shape: tuple[int, ...]) -> int:
    view = view_of(grid.scales, "float32")
    groups, outputs, inputs = shape
    _require(view.size == groups * outputs * -(-inputs // grid.span), "scales do not fit the weights")
    return view.address


_core: CudaCore | None = None
_reason: str | None = None


def candidate() -> str:
    """The file ``load`` opens: ``DOPT_NATIVE_CUDA_LIB``, else the one in the source tree."""
    built = Path(__file__).resolve().parents[2] / "native" / "build" / "lib" / "libdopt_cuda.so"
    return os.environ.get("DOPT_NATIVE_CUDA_LIB") or str(built)


def load() -> CudaCore | None:
    """The CUDA core, or None where it cannot be used (``unavailable`` says why). Kept for the life of the process."""
    global _core, _reason
    if _core is None and _reason is None:
        try:
            _core = CudaCore(candidate())
        except CudaLibraryError as error:
            _reason = str(error)
    return _core


def unavailable() -> str | None:
    """Why ``load`` gives None; None when it does not."""
    load()
    return _reason
