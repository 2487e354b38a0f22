"""Spelled-out operators are put together again, and compute what they computed (capture checks parity itself)."""

import numpy as np
import pytest
from models import constant, floats, model, node, value, write


def ops(graph):
    return [each["op"] for each in graph["nodes"]]


@pytest.fixture
def captured(capture, tmp_path):
    def run(nodes, initializers, shape=(1, 3, 6, 6), output="y"):
        made = model(nodes, [value("x", list(shape))], [value(output, None)], initializers, check=False)
        result, graph = capture(write(made, tmp_path / "m.onnx"))
        assert result["parity"]["samples"] > 0 and result["parity"]["maxRelativeDifference"] < 1e-5
        return graph

    return run


def test_gain_and_offset_behind_a_convolution_become_batch_normalization(captured):
    nodes = [node("Conv", "x w", "c", "conv"), node("Mul", "c g", "m", "mul"), node("Add", "b m", "y", "add")]
    graph = captured(nodes, [floats("w", 4, 3, 3, 3), floats("g", 1, 4, 1, 1), floats("b", 4, 1, 1)])
    assert ops(graph) == ["Conv", "BatchNormalization"]
    assert graph["nodes"][1]["attributes"]["epsilon"] == 0


def test_a_gain_alone_and_one_behind_gemm(captured):
    graph = captured([node("Conv", "x w", "c", "conv"), node("Mul", "c g", "y", "mul")], [floats("w", 4, 3, 1, 1), floats("g", 1, 4, 1, 1)])
    assert ops(graph) == ["Conv", "BatchNormalization"]
    gemm = [node("Gemm", "x w", "c", "gemm"), node("Mul", "g c", "m", "mul"), node("Add", "m b", "y", "add")]
    assert ops(captured(gemm, [floats("w", 5, 4), floats("g", 4), floats("b", 1, 4)], (2, 5))) == ["Gemm", "BatchNormalization"]


@pytest.mark.parametrize("shape", [(1,), (1, 4, 4, 4), (4,), (1, 1, 4, 4)])
def test_other_constants_stay(captured, shape):
    nodes = [node("Conv", "x w", "c", "conv"), node("Mul", "c g", "y", "mul")]
    assert ops(captured(nodes, [floats("w", 4, 3, 3, 3), floats("g", *shape)])) == ["Conv", "Mul"]


def test_a_layer_that_is_read_twice_stays(captured):
    nodes = [node("Conv", "x w", "c", "conv"), node("Mul", "c g", "m", "mul"), node("Add", "m c", "y", "add")]
    graph = captured(nodes, [floats("w", 4, 3, 3, 3), floats("g", 1, 4, 1, 1)])
    assert ops(graph) == ["Conv", "Mul", "Add"]


def test_keras_prelu(captured):
    nodes = [
        node("Relu", "x", "p", "relu"),
        node("Neg", "x", "n", "neg"),
        node("Relu", "n", "q", "relu2"),
        node("Mul", "slope q", "s", "mul"),
        node("Add", "p s", "y", "add"),
    ]
    graph = captured(nodes, [floats("slope", 3, 1, 1)])
    assert ops(graph) == ["PRelu"]


SPELLINGS = {
    "relu(x) - a·relu(-x)": [
        node("Relu", "x", "p", "relu"),
        node("Neg", "x", "n", "neg"),
        node("Relu", "n", "q", "relu2"),
        node("Mul", "slope q", "s", "mul"),
        node("Sub", "p s", "y", "sub"),
    ],
    "relu(x) + a·(x - |x|)·0.5": [
        node("Relu", "x", "p", "relu"),
        node("Abs", "x", "m", "abs"),
        node("Sub", "x m", "d", "sub"),
        node("Mul", "slope d", "s", "mul"),
        node("Mul", "s half", "t", "mul2"),
        node("Add", "p t", "y", "add"),
    ],
    "max(x, 0) + a·min(x, 0)": [
        node("Max", "x zero", "p", "max"),
        node("Min", "zero x", "n", "min"),
        node("Mul", "n slope", "s", "mul"),
        node("Add", "s p", "y", "add"),
    ],
    "where(x > 0, x, a·x)": [
        node("Greater", "x zero", "g", "greater"),
        node("Mul", "x slope", "s", "mul"),
        node("Where", "g x s", "y", "where"),
    ],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_prelu_in_other_spellings(captured, spelling):
    constants = [constant("zero", np.float32(0)), constant("half", np.float32(0.5)), floats("slope", 3, 1, 1)]
    nodes = SPELLINGS[spelling]
    used = {name for each in nodes for name in each.input}
    assert ops(captured(nodes, [each for each in constants if each.name in used])) == ["PRelu"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_slope_for_all_channels_is_leaky_relu(captured, spelling):
    constants = [constant("zero", np.float32(0)), constant("half", np.float32(0.5)), constant("slope", np.float32(0.3))]
    nodes = SPELLINGS[spelling]
    used = {name for each in nodes for name in each.input}
    graph = captured(nodes, [each for each in constants if each.name in used])
    assert ops(graph) == ["LeakyRelu"]
    assert graph["nodes"][0]["attributes"]["alpha"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    "nodes",
    [
        # A gain above zero, a limit far out, a function inside that something else reads.
        [node("Relu", "x", "p", "relu"), node("Mul", "p slope", "s", "mul"), node("Add", "s x", "y", "add")],
        [
            node("Clip", "x zero limit", "p", "clip"),
            node("Min", "x zero", "n", "min"),
            node("Mul", "n slope", "s", "mul"),
            node("Add", "p s", "y", "add"),
        ],
        [
            node("Relu", "x", "p", "relu"),
            node("Min", "x zero", "n", "min"),
            node("Mul", "n slope", "s", "mul"),
            node("Add", "p s", "t", "add"),
            node("Mul", "t n", "y", "mul2"),
        ],
    ],
)
def test_other_functions_stay(captured, nodes):
    constants = [constant("zero", np.float32(0)), constant("limit", np.float32(6)), floats("slope", 3, 1, 1)]
    used = {name for each in nodes for name in each.input}
    found = ops(captured(nodes, [each for each in constants if each.name in used]))
    assert "PRelu" not in found and "LeakyRelu" not in found


def test_prelu_by_masks(captured):
    nodes = [
        node("Greater", "x zero", "g", "greater"),
        node("Cast", "g", "a", "cast", to=1),
        node("Not", "g", "ng", "not"),
        node("Cast", "ng", "b", "cast2", to=1),
        node("Mul", "x a", "above", "mul"),
        node("Mul", "slope x", "sx", "mul2"),
        node("Mul", "sx b", "below", "mul3"),
        node("Add", "below above", "y", "add"),
    ]
    graph = captured(nodes, [constant("zero", np.float32(0)), floats("slope", 3, 1, 1)])
    assert ops(graph) == ["PRelu"]


def test_masks_of_another_tensor_stay(captured):
    nodes = [
        node("Neg", "x", "other", "neg"),
        node("Greater", "other zero", "g", "greater"),
        node("Cast", "g", "a", "cast", to=1),
        node("Not", "g", "ng", "not"),
        node("Cast", "ng", "b", "cast2", to=1),
        node("Mul", "x a", "above", "mul"),
        node("Mul", "slope x", "sx", "mul2"),
        node("Mul", "sx b", "below", "mul3"),
        node("Add", "below above", "y", "add"),
    ]
    assert "PRelu" not in ops(captured(nodes, [constant("zero", np.float32(0)), floats("slope", 3, 1, 1)]))


def test_a_function_between_transposes_moves_to_its_layer(captured):
    """Channels last, as TensorFlow has them: the slope lies along the last axis."""
    nodes = [
        node("Conv", "x w", "c", "conv"),
        node("Transpose", "c", "l", "last", perm=[0, 2, 3, 1]),
        node("PRelu", "l slope", "p", "prelu"),
        node("Transpose", "p", "f", "first", perm=[0, 3, 1, 2]),
        node("Conv", "f v", "y", "conv2"),
    ]
    graph = captured(nodes, [floats("w", 4, 3, 3, 3), floats("v", 2, 4, 1, 1), floats("slope", 4)])
    assert ops(graph) == ["Conv", "PRelu", "Conv"]


def test_a_transpose_that_is_read_twice_stays(captured):
    nodes = [
        node("Transpose", "x", "l", "last", perm=[0, 2, 3, 1]),
        node("PRelu", "l slope", "p", "prelu"),
        node("Add", "p l", "y", "add"),
    ]
    assert ops(captured(nodes, [floats("slope", 3)])) == ["Transpose", "PRelu", "Add"]


def test_transposes_that_do_not_cancel_stay(captured):
    nodes = [
        node("Transpose", "x", "l", "last", perm=[0, 2, 3, 1]),
        node("PRelu", "l slope", "p", "prelu"),
        node("Transpose", "p", "y", "again", perm=[0, 2, 3, 1]),
    ]
    assert ops(captured(nodes, [floats("slope", 3)])) == ["PRelu", "Transpose", "Transpose"]


def pad(*amounts):
    return constant("amounts", np.array(amounts, np.int64))


def test_zeros_before_convolutions_are_their_padding(captured):
    nodes = [
        node("Pad", "x amounts", "p", "pad"),
        node("Conv", "p w", "a", "conv", strides=[2, 2], pads=[1, 0, 0, 2]),
        node("Conv", "p v", "b", "conv2", strides=[2, 2], pads=[1, 0, 0, 2]),
        node("Add", "a b", "y", "add"),
    ]
    weights = [pad(0, 0, 0, 1, 0, 0, 2, 3), floats("w", 4, 3, 3, 3), floats("v", 4, 3, 3, 3)]
    graph = captured(nodes, weights)
    assert ops(graph) == ["Conv", "Conv", "Add"]
    assert graph["nodes"][0]["attributes"]["pads"] == [1, 1, 2, 5]


@pytest.mark.parametrize(
    ("amounts", "extra", "mode"),
    [
        ((0, 1, 0, 0, 0, 0, 1, 1), [], "constant"),
        ((0, 0, -1, 0, 0, 0, 1, 1), [], "constant"),
        ((0, 0, 1, 1, 0, 0, 1, 1), [constant("one", np.float32(1))], "constant"),
        ((0, 0, 1, 1, 0, 0, 1, 1), [], "reflect"),
    ],
)
def test_other_padding_stays(captured, amounts, extra, mode):
    channels = 4 if amounts[1] else 3
    nodes = [
        node("Pad", "x amounts one" if extra else "x amounts", "p", "pad", mode=mode),
        node("Conv", "p w", "y", "conv"),
    ]
    assert ops(captured(nodes, [pad(*amounts), floats("w", 4, channels, 3, 3), *extra])) == ["Pad", "Conv"]


def test_padding_that_something_else_reads_stays(captured):
    nodes = [node("Pad", "x amounts", "p", "pad"), node("Conv", "p w", "c", "conv", pads=[1, 1, 1, 1]), node("Add", "c p", "y", "add")]
    assert ops(captured(nodes, [pad(0, 0, 1, 1, 0, 0, 1, 1), floats("w", 3, 3, 3, 3)])) == ["Pad", "Conv", "Add"]
