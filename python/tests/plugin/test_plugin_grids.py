"""Ranges and scales of the plug-in, by themselves and beside the native core."""

import numpy as np
import pytest

from dopt import native
from dopt.native_numpy import NumpyCore
from dopt.plugin.grids import observed_range, parameters_of, weight_scales
from dopt.plugin.strategies import SCHEMES, Grid

UINT8 = SCHEMES["Quant_INT8-8"].activation
INT16 = SCHEMES["Quant_INT16-8"].activation


@pytest.mark.parametrize(
    ("low", "high", "grid", "scale", "zero"),
    [
        (0.0, 255.0, UINT8, 1.0, 0),
        (-1.0, 1.55, UINT8, 0.01, 100),
        (2.0, 25.5, UINT8, 0.1, 0),
        (-25.5, -2.0, UINT8, 0.1, 255),
        (0.0, 0.0, UINT8, 1.0, 0),
        (-2.0, 32767.0, INT16, 1.0, 0),
        (-3.0, 3.5, Grid(8, True, False), 6.5 / 255, -10),
    ],
)
def test_scale_and_zero_point_of_a_range(low, high, grid, scale, zero):
    found, point = parameters_of(low, high, grid)
    assert found == pytest.approx(scale, rel=1e-6) and point == zero


def histogram(core, values):
    seen = core.histograms(1)
    seen.update([(0, values.ctypes.data, values.size)])
    return seen


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_numpy_finds_ranges_as_good_as_the_native_core(bits, symmetric):
    core = native.load()
    if core.backend == "numpy":
        pytest.skip("the native core is not built")
    values = np.random.default_rng(0).laplace(0.2, 1, 200_000).astype(np.float32)
    grid = Grid(bits, symmetric, symmetric)
    errors = []
    for each in (core, NumpyCore()):
        low, high = histogram(each, values).range_mse(0, bits, symmetric, symmetric)
        scale, zero = parameters_of(low, high, grid)
        rounded = (np.clip(np.rint(values / scale) + zero, grid.low, grid.high) - zero) * scale
        errors.append(float(((rounded - values) ** 2).mean()))
    assert errors[1] < 1.03 * errors[0]


def test_sixteen_bits_take_the_whole_range_with_headroom():
    values = np.array([-1, 0, 3], np.float32)
    assert observed_range(histogram(NumpyCore(), values), 0, INT16) == (-2.0, 6.0)


def test_weight_scales_of_four_bits_clip_outliers_and_stay_positive():
    weight = np.random.default_rng(0).normal(size=(4, 500)).astype(np.float32)
    weight[0] = 0
    weight[1, 0] = 100
    eight, four = weight_scales(weight, 8), weight_scales(weight, 4)
    assert (eight > 0).all() and (four > 0).all()
    assert eight[1] == pytest.approx(100 / 127, rel=0.2)
    assert (four[2:] < np.abs(weight[2:]).max(axis=1) / 7).all()
