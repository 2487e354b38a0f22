"""Products in other words become MatMul, with their bias behind them (capture checks that the numbers are the same)."""

import numpy as np
import pytest
from models import constant, floats, model, node, value, write


@pytest.fixture
def captured(capture, tmp_path):
    def run(nodes, initializers, **shapes):
        inputs = [value(name, list(shape)) for name, shape in shapes.items()]
        made = model(nodes, inputs, [value("y", None)], initializers, check=False)
        result, graph = capture(write(made, tmp_path / "m.onnx"))
        assert result["parity"]["samples"] > 0 and result["parity"]["maxRelativeDifference"] < 1e-5
        return [each["op"] for each in graph["nodes"]], graph

    return run


@pytest.mark.parametrize(
    ("equation", "weight", "wanted"),
    [
        ("abc,cd->abd", (5, 6), ["MatMul"]),
        ("abc,cde->abde", (5, 2, 3), ["MatMul", "Reshape"]),
        ("abc,dc->abd", (6, 5), ["MatMul"]),
        ("abc, cd -> adb", (5, 6), ["MatMul", "Transpose"]),
        ("abc,bcd->ad", (4, 5, 6), ["Reshape", "MatMul"]),
        ("abc,bd->acd", (4, 6), ["Transpose", "MatMul"]),
        ("abc,cd", (5, 6), ["MatMul"]),
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_einsum_with_a_weight(captured, equation, weight, wanted, first):
    left, arrow, out = equation.partition("->")
    inputs = "x w"
    if first:
        left, inputs = ",".join(left.split(",")[::-1]), "w x"
        if not arrow:
            arrow, out = "->", "abd"
    nodes = [node("Einsum", inputs, "y", "product", equation=left + arrow + out)]
    found, graph = captured(nodes, [floats("w", *weight)], x=("batch", 4, 5))
    assert found == wanted
    product = next(each for each in graph["nodes"] if each["op"] == "MatMul")
    assert product["name"] == "product" and product["inputs"][1] == "w"


@pytest.mark.parametrize(
    ("equation", "shape", "other", "wanted"),
    [
        ("abcd,aecd->acbe", (2, 3, 4, 5), (2, 6, 4, 5), ["Transpose", "Transpose", "MatMul"]),
        ("aecd,abcd->acbe", (2, 6, 4, 5), (2, 3, 4, 5), ["Transpose", "Transpose", "MatMul"]),
        ("acbe,aecd->abcd", (2, 4, 3, 6), (2, 6, 4, 5), ["Transpose", "MatMul", "Transpose"]),
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 5), ["MatMul"]),
    ],
)
def test_einsum_of_two_tensors(captured, equation, shape, other, wanted):
    found, _ = captured([node("Einsum", "x z", "y", "product", equation=equation)], [], x=shape, z=other)
    assert found == wanted


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bii->b", {"x": (2, 3, 3)}),
        ("bij,bjk->bi", {"x": (2, 3, 4), "z": (2, 4, 5)}),
        ("bi,bj->bij", {"x": (2, 3), "z": (2, 4)}),
        ("...ij,...jk->...ik", {"x": (2, 3, 4), "z": (2, 4, 5)}),
        ("abcd,abe->cde", {"x": (2, 3, 4, 5), "z": (2, 3, 6)}),
    ],
)
def test_other_einsums_stay(captured, equation, shapes):
    assert captured([node("Einsum", " ".join(shapes), "y", "product", equation=equation)], [], **shapes)[0] == ["Einsum"]


def test_a_bias_moves_before_the_reshape(captured):
    nodes = [node("Einsum", "x w", "e", "product", equation="abc,cde->abde"), node("Add", "e b", "y", "add")]
    found, graph = captured(nodes, [floats("w", 5, 2, 3), floats("b", 2, 3)], x=("batch", 4, 5))
    assert found == ["MatMul", "Add", "Reshape"]
    assert graph["nodes"][1]["name"] == "add"


def test_a_bias_that_is_no_column_stays_behind(captured):
    nodes = [node("Einsum", "x w", "e", "product", equation="abc,cde->abde"), node("Add", "e b", "y", "add")]
    found, _ = captured(nodes, [floats("w", 5, 2, 3), floats("b", 4, 1, 3)], x=("batch", 4, 5))
    assert found == ["MatMul", "Reshape", "Add"]


def dense(target, *more):
    """Keras' Dense on a sequence, with the sizes to go back to computed or constant."""
    return [
        *more,
        node("Reshape", "x flat", "f", "flatten"),
        node("MatMul", "f w", "m", "product"),
        node("Reshape", f"m {target}", "r", "restore"),
        node("Add", "r b", "y", "add"),
    ]


def weights(*back):
    made = [constant("flat", np.array([-1, 5], np.int64)), floats("w", 5, 6), floats("b", 6)]
    return [*made, constant("back", np.array(back, np.int64))] if back else made


def test_a_dense_layer_on_a_sequence(captured):
    assert captured(dense("back"), weights(-1, 4, 6), x=("batch", 4, 5))[0] == ["MatMul", "Add"]
    assert captured(dense("back"), weights(2, 4, 6), x=(2, 4, 5))[0] == ["MatMul", "Add"]


def test_a_dense_layer_with_computed_sizes(captured):
    compute = [
        node("Shape", "x", "s", "shape"),
        node("Slice", "s from to", "lead", "slice"),
        node("Concat", "lead columns", "back", "concat", axis=0),
    ]
    numbers = {"from": [0], "to": [2], "columns": [6]}
    constants = [constant(name, np.array(number, np.int64)) for name, number in numbers.items()]
    assert captured(dense("back", *compute), [*weights(), *constants], x=("batch", 4, 5))[0] == ["MatMul", "Add"]


def test_other_reshapes_around_a_product_stay(captured):
    assert captured(dense("back"), weights(-1, 2, 6), x=(2, 4, 5))[0] == ["Reshape", "MatMul", "Reshape", "Add"]
    # The rows of another tensor than x's last axis.
    assert captured(dense("back"), weights(2, 4, 6), x=(2, 5, 4))[0] == ["Reshape", "MatMul", "Reshape", "Add"]
