"""Layers on Gram matrices (native/include/dopt.h): sums over positions, and integers solved from them.

Arrays are numpy's: samples float32, sums float64, integers int8, all C-contiguous. ``GramCalls`` is the part of
``NativeCore`` that reaches the library; ``native_numpy_gram`` holds the same methods in numpy.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable, NamedTuple

from .native_abi import Conv2dShape, LayerShape


class LayerSums(NamedTuple):
    """Sums over the positions of a layer, a constant 1 appended to its input x (K = inputs + 1)."""

    gram: Any  # float64 [groups, K, K]: x x^T
    cross: Any  # float64 [groups, outputs, K]: y x^T
    power: Any  # float64 [groups, outputs]: y^2

    @classmethod
    def empty(cls, groups: int, outputs: int, inputs: int) -> "LayerSums":
        """Sums over nothing; ``outputs`` and ``inputs`` are those of one group."""
        import numpy as np

        k = inputs + 1
        return cls(np.zeros((groups, k, k)), np.zeros((groups, outputs, k)), np.zeros((groups, outputs)))

    @property
    def count(self) -> float:
        """How many positions were added."""
        return float(self.gram[0, -1, -1])

    def plus(self, other: "LayerSums") -> "LayerSums":
        """The sums over the positions of both."""
        return LayerSums(*(a + b for a, b in zip(self, other)))


class WeightGrid(NamedTuple):
    """The grid that a layer's weights are rounded to."""

    scales: Any  # float32 [groups, outputs, ceil(inputs / span)]
    span: int  # weights along the inputs that share a scale
    qmin: int
    qmax: int
    free_bias: bool  # the layer has a bias, which takes whatever makes the mean error zero


class Conv2d(NamedTuple):
    """Geometry of a two-dimensional convolution, or of its transpose, over one sample."""

    shape: dict[str, int]  # members of dopt_conv2d_shape
    transposed: bool
    out_height: int
    out_width: int


class GramCalls:
    """The methods of ``NativeCore`` for layers on Gram matrices."""

    _call: Callable[..., None]

    def gram_conv2d(self, conv: Conv2d, x: Any, y: Any, positions: int, first: int, sums: LayerSums) -> None:
        """Adds one sample, x[channels, height, width] and y[channels, height, width], at most ``positions`` of it."""
        shape = Conv2dShape(ctypes.sizeof(Conv2dShape), **conv.shape)
        self._call(
            "dopt_gram_conv2d",
            ctypes.byref(shape),
            int(conv.transposed),
            conv.out_height,
            conv.out_width,
            _address(x, "float32"),
            _address(y, "float32"),
            positions,
            first,
            *_sums(sums),
        )

    def gram_matmul(self, x: Any, y: Any, sums: LayerSums) -> None:
        """Adds the rows of x[rows, inputs] and y[rows, outputs]."""
        sizes = (x.shape[0], x.shape[1], y.shape[1])
        self._call("dopt_gram_matmul", _address(x, "float32"), _address(y, "float32"), *sizes, *_sums(sums))

    def gram_reconstruct(self, weights: Any, grid: WeightGrid, sums: LayerSums, ridge: float, damping: float) -> Any:
        """int8 [groups, outputs, inputs] for weights of that shape; a negative ridge rounds them as they are."""
        import numpy as np

        out = np.empty(weights.shape, dtype=np.int8)
        gram, cross, _ = _sums(sums)
        given = (_address(weights, "float32"), _address(grid.scales, "float32"))
        layer = layer_of(weights.shape, grid)
        self._call("dopt_gram_reconstruct", layer, gram, cross, *given, ridge, damping, out.ctypes.data)
        return out

    def gram_bias(self, integers: Any, grid: WeightGrid, sums: LayerSums) -> Any:
        """float64 [groups, outputs]: the bias with which the mean error is zero."""
        import numpy as np

        out = np.empty(integers.shape[:2])
        gram, cross, _ = _sums(sums)
        given = (_address(integers, "int8"), _address(grid.scales, "float32"))
        self._call("dopt_gram_bias", layer_of(integers.shape, grid), gram, cross, *given, out.ctypes.data)
        return out

    def gram_error(self, integers: Any, grid: WeightGrid, sums: LayerSums, bias: Any) -> Any:
        """float64 [groups, outputs]: squared error over all positions with this bias (None: zero)."""
        import numpy as np

        out = np.empty(integers.shape[:2])
        given = (_address(integers, "int8"), _address(grid.scales, "float32"))
        added = None if bias is None else _address(bias, "float64")
        layer = layer_of(integers.shape, grid)
        self._call("dopt_gram_error", layer, *_sums(sums), *given, added, out.ctypes.data)
        return out


def layer_of(shape: tuple[int, ...], grid: WeightGrid) -> Any:
    """``dopt_layer *`` of weights [groups, outputs, inputs] on a grid."""
    layer = LayerShape(ctypes.sizeof(LayerShape), *shape, grid.span, grid.qmin, grid.qmax, int(grid.free_bias))
    return ctypes.byref(layer)


def _sums(sums: LayerSums) -> tuple[int, int, int]:
    gram, cross, power = (_address(each, "float64") for each in sums)
    return gram, cross, power


def _address(array: Any, dtype: str) -> int:
    if array.dtype != dtype or not array.flags["C_CONTIGUOUS"]:
        raise ValueError("expected a contiguous %s array, found %s" % (dtype, array.dtype))
    return int(array.ctypes.data)
