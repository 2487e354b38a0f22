"""Weights in groups that share a scale (native/include/dopt.h): scales, and integers solved row by row on a Gram matrix.

Arrays are numpy's, C-contiguous: weights and scales float32, Gram matrices, factors and targets float64, integers int8.
``RowCalls`` is the part of ``NativeCore`` that reaches the library; ``native_numpy_rows`` holds the same methods in numpy.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable, NamedTuple, Optional

from .native_abi import LayerShape


class RowGrid(NamedTuple):
    """The grid that the weights of a linear are rounded to."""

    group: int  # weights along the inputs that share a scale
    qmin: int
    qmax: int


class RowCalls:
    """The methods of ``NativeCore`` for weights in groups."""

    _call: Callable[..., None]

    def group_scales(self, weights: Any, grid: RowGrid, importance: Optional[Any], candidates: int, least: float) -> Any:
        """float32 [outputs, groups] for weights [outputs, inputs]: the clip of least (weighted) squared error."""
        import numpy as np

        out = np.empty((weights.shape[0], -(-weights.shape[1] // grid.group)), np.float32)
        power = None if importance is None else _address(importance, "float64")
        given = (_layer(weights.shape, grid), _address(weights, "float32"), power)
        self._call("dopt_group_scales", *given, candidates, least, out.ctypes.data)
        return out

    def group_nearest(self, values: Any, grid: RowGrid, scales: Any) -> Any:
        """int8 [outputs, inputs] nearest to float64 values."""
        import numpy as np

        out = np.empty(values.shape, np.int8)
        given = (_address(values, "float64"), _address(scales, "float32"))
        self._call("dopt_group_nearest", _layer(values.shape, grid), *given, out.ctypes.data)
        return out

    def gram_round(
        self, order: Any, factor: Any, target: Any, grid: RowGrid, scales: Any, run_factors: Optional[Any] = None
    ) -> Any:
        """int8 [outputs, inputs] by error feedback; order int64 [inputs], factor lower triangular in that order. ``run_factors``:
        lower triangular [outputs / run, run, run] of forms over the outputs of runs of rows that are rounded together."""
        import numpy as np

        out = np.empty(target.shape, np.int8)
        given = (_address(order, "int64"), _address(factor, "float64"), _address(target, "float64"), _address(scales, "float32"))
        runs = (None, 1) if run_factors is None else (_address(run_factors, "float64"), run_factors.shape[-1])
        self._call("dopt_gram_round", _layer(target.shape, grid), *given, *runs, out.ctypes.data)
        return out

    def gram_refine(
        self, gram: Any, target: Any, grid: RowGrid, scales: Any, integers: Any, refit: bool, sweeps: int
    ) -> None:
        """Lowers the squared error on ``gram`` in place: scales by least squares, integers by coordinate descent."""
        given = (_address(gram, "float64"), _address(target, "float64"), int(refit), sweeps)
        places = (_address(scales, "float32"), _address(integers, "int8"))
        self._call("dopt_gram_refine", _layer(target.shape, grid), *given, *places)


def _layer(shape: tuple[int, ...], grid: RowGrid) -> Any:
    return ctypes.byref(LayerShape(ctypes.sizeof(LayerShape), 1, *shape, grid.group, grid.qmin, grid.qmax, 0))


def _address(array: Any, dtype: str) -> int:
    if array.dtype != dtype or not array.flags["C_CONTIGUOUS"]:
        raise ValueError("expected a contiguous %s array, found %s" % (dtype, array.dtype))
    return int(array.ctypes.data)
