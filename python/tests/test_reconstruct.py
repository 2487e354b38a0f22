"""Layers as matrices, sums over their positions and what is solved from them, against onnxruntime and against numpy."""

import os

import numpy as np
import onnxruntime
import pytest
from dopt import native
from dopt.execute.reconstruct import gather, grid_of, positions_of, reconstruct, view_of
from dopt.native_gram import LayerSums
from dopt.native_numpy import NumpyCore
from onnx import TensorProto, helper

LIBRARY = native.candidates()[0]
OPTIONS = {"ridges": [0.03, 0.3, 3], "damping": 0.001, "heldBack": 4, "operations": 1e12}

LAYERS = {
    "conv": ("Conv", (6, 4, 3, 3), dict(pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2]), (4, 9, 8)),
    "grouped": ("Conv", (6, 2, 3, 1), dict(group=2), (4, 5, 7)),
    "depthwise": ("Conv", (8, 1, 3, 3), dict(group=4, pads=[1, 1, 1, 1]), (4, 6, 6)),
    "same upper": ("Conv", (3, 2, 4, 3), dict(auto_pad="SAME_UPPER", strides=[2, 2]), (2, 7, 9)),
    "same lower": ("Conv", (3, 2, 2, 4), dict(auto_pad="SAME_LOWER", strides=[1, 3]), (2, 7, 8)),
    "1d": ("Conv", (5, 3, 4), dict(pads=[2, 1], strides=[2]), (3, 20)),
    "transpose": ("ConvTranspose", (4, 3, 3, 3), dict(strides=[2, 3], pads=[1, 0, 0, 1], dilations=[2, 1]), (4, 5, 4)),
    "transpose grouped": ("ConvTranspose", (6, 2, 2, 3), dict(group=3, strides=[2, 2], output_padding=[1, 1]), (6, 4, 3)),
    "gemm": ("Gemm", (7, 5), dict(transB=1), (7,)),
    "gemm stored": ("Gemm", (7, 5), dict(), (7,)),
    "matmul": ("MatMul", (7, 5), dict(), (6, 7)),
}


@pytest.fixture(params=["native", "numpy"])
def core(request):
    if request.param == "numpy":
        return NumpyCore()
    if not os.path.exists(LIBRARY):
        pytest.skip("no native library at %s: run npm run build:native" % LIBRARY)
    return native.NativeCore(LIBRARY)


class Case:
    """A layer with samples and its results in onnxruntime."""

    def __init__(self, name, samples=12, seed=0):
        self.random = np.random.RandomState(seed)
        op, shape, attributes, x_shape = LAYERS[name]
        if name == "gemm":
            shape = shape[::-1]
        self.shape = shape
        self.node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
        self.view = view_of(self.node, shape, 1)
        self.weights = self.random.randn(*shape).astype(np.float32)
        self.x = [self._sample(x_shape) for _ in range(samples)]
        self.rank = len(x_shape) + 1
        self.y = self.run(self.weights)
        matrix = self.view.matrix(self.weights)
        scales = (np.abs(matrix).max(axis=2) / 20).astype(np.float32)
        self.grid = grid_of(self.view, scales, -31, 31, True)
        self.nearest = np.clip(np.rint(matrix / self.grid.scales), -31, 31).astype(np.int8)

    def _sample(self, shape):
        channels = 1 if self.node.op_type.startswith("Conv") else len(shape)
        mixed = np.cumsum(self.random.randn(1, *shape), axis=channels) + 0.3
        return mixed.astype(np.float32)

    def run(self, weights):
        graph = helper.make_graph(
            [self.node],
            "layer",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * self.rank),
                helper.make_tensor_value_info("w", TensorProto.FLOAT, list(self.shape)),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return [session.run(["y"], {"x": x, "w": weights.astype(np.float32)})[0] for x in self.x]

    def stored(self, integers):
        return self.view.stored(np.ascontiguousarray(integers * self.grid.scales))

    def error(self, integers, bias):
        """Squared error over all samples, from results in onnxruntime."""
        axis = 1 if self.node.op_type.startswith("Conv") else self.y[0].ndim - 1
        shape = [-1 if i == axis else 1 for i in range(self.y[0].ndim)]
        shift = bias.reshape(-1).reshape(shape)
        return sum(float(np.square(y - q - shift).sum()) for y, q in zip(self.y, self.run(self.stored(integers))))


@pytest.mark.parametrize("name", LAYERS)
def test_weights_come_back_from_their_matrix(name):
    case = Case(name, samples=1)
    np.testing.assert_array_equal(case.view.stored(case.view.matrix(case.weights)), case.weights)


@pytest.mark.parametrize("name", LAYERS)
def test_errors_from_sums_are_those_of_the_layer(core, name):
    case = Case(name)
    solving, judging = gather(core, case.view, case.x, case.y, OPTIONS)
    whole = solving.plus(judging)
    bias = core.gram_bias(case.nearest, case.grid, whole)
    found = core.gram_error(case.nearest, case.grid, whole, bias)
    assert found.sum() == pytest.approx(case.error(case.nearest, bias), rel=1e-4)
    positions = case.y[0].size // (case.view.groups * case.view.outputs)
    assert whole.count == positions * len(case.x)


@pytest.mark.parametrize("name", ["conv", "grouped", "transpose", "gemm", "matmul"])
def test_solved_weights_are_closer_than_nearest_ones(core, name):
    case = Case(name, samples=80)
    solving, judging = gather(core, case.view, case.x, case.y, OPTIONS)
    solved, report = reconstruct(core, case.view.matrix(case.weights), case.nearest, case.grid, solving, judging, OPTIONS)
    assert report["ridge"] is not None
    assert len(report["errors"]) == 5
    whole = solving.plus(judging)
    before, after = (case.error(q, core.gram_bias(q, case.grid, whole)) for q in (case.nearest, solved))
    assert after < 0.8 * before


def test_what_only_fits_noise_is_not_taken(core):
    case = Case("gemm", samples=16)
    # The layer is exact already, and what it should give is noise that no weights explain.
    solving, judging = gather(core, case.view, case.x, case.run(case.stored(case.nearest)), OPTIONS)
    exact = case.stored(case.nearest)
    same, report = reconstruct(core, case.view.matrix(exact), case.nearest, case.grid, solving, judging, OPTIONS)
    np.testing.assert_array_equal(same, case.nearest)
    assert report["ridge"] is None


def test_weights_make_up_for_a_quantized_input(core):
    case = Case("conv", samples=60)
    # Two channels of the input were lost; those beside them tell much of what they held.
    damaged = [x.copy() for x in case.x]
    for x in damaged:
        x[:, 1:3] = 0
    solving, judging = gather(core, case.view, damaged, case.y, OPTIONS)
    _, report = reconstruct(core, case.view.matrix(case.weights), case.nearest, case.grid, solving, judging, OPTIONS)
    assert report["ridge"] in OPTIONS["ridges"]
    assert min(report["errors"]) < 0.7 * report["errors"][0]


@pytest.mark.parametrize("name", LAYERS)
def test_numpy_computes_what_the_library_computes(name):
    if not os.path.exists(LIBRARY):
        pytest.skip("no native library at %s: run npm run build:native" % LIBRARY)
    case = Case(name, samples=24)
    results = []
    for core in (NumpyCore(), native.NativeCore(LIBRARY)):
        sums = gather(core, case.view, case.x, case.y, {**OPTIONS, "operations": 2000})
        results.append((sums, core.gram_reconstruct(case.view.matrix(case.weights), case.grid, sums[0], 0.1, 0.001)))
    (one, integers), (other, same) = results
    for a, b in zip(one[0] + one[1], other[0] + other[1]):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    # Values on the border between two integers may fall to either side.
    assert (integers != same).mean() < 0.02


def test_layers_that_are_no_matrix_have_no_view():
    assert view_of(helper.make_node("Conv", ["x", "w"], ["y"]), (4, 3, 3, 3, 3), 1) is None
    assert view_of(helper.make_node("MatMul", ["x", "w"], ["y"]), (2, 3, 3), 1) is None
    assert view_of(helper.make_node("MatMul", ["w", "x"], ["y"]), (3, 3), 0) is None
    assert view_of(helper.make_node("Gemm", ["x", "w"], ["y"], transA=1), (3, 3), 1) is None
    assert view_of(helper.make_node("ConvTranspose", ["x", "w"], ["y"], auto_pad="SAME_UPPER"), (3, 3, 2, 2), 1) is None


def test_scales_of_every_granularity():
    grouped = Case("transpose grouped", samples=1).view
    one = np.float32(0.5)
    assert grouped.scales(one).shape == (3, 2, 1) and (grouped.scales(one) == 0.5).all()
    a_group = np.array([1, 2], np.float32)
    np.testing.assert_array_equal(grouped.scales(a_group)[:, :, 0], [[1, 2]] * 3)
    each = np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(grouped.scales(each)[:, :, 0].reshape(-1), each)


def test_positions_are_bounded_by_work_and_never_too_few():
    view = Case("conv", samples=1).view
    size = view.inputs + 1
    assert positions_of(view, 10, 1) == -(-16 * size // 10)
    assert positions_of(view, 10, 1000 * size * size) == 100


def test_damaged_arrays_are_refused(core):
    if core.backend == "numpy":
        pytest.skip("numpy takes any layout")
    case = Case("gemm", samples=4)
    sums = LayerSums.empty(1, case.view.outputs, case.view.inputs)
    with pytest.raises(ValueError, match="contiguous"):
        core.gram_matmul(case.x[0].astype(np.float64), case.y[0], sums)
