"""Products by oneDNN, and the tokens of a batch that judge."""

import pytest
import torch

from dopt.llm import product
from dopt.llm.gram import HELD_TOKENS, Batch, Inputs
from dopt.llm.load import _is_finite
from dopt.llm.product import COPIED_ROWS, multiply

linear = torch.nn.functional.linear


def numbers(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 300, 1), (200, 64, 172), (512, 576, 576)])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_is_that_of_pytorch(shape, biased):
    rows, inputs, outputs = shape
    x, weight = numbers(rows, inputs), numbers(outputs, inputs, seed=1)
    bias = numbers(outputs, seed=2) if biased else None
    right = linear(x.double(), weight.double(), None if bias is None else bias.double())
    for found in (
        multiply(x, weight, bias),
        multiply(x[None], weight, bias)[0],
        multiply(x.t().contiguous().t(), weight.t().contiguous().t(), bias),
        multiply(x.double(), weight.double(), None if bias is None else bias.double()),
    ):
        assert found.shape == right.shape and torch.allclose(found.double(), right, rtol=1e-4, atol=1e-4 * inputs**0.5)


def test_gradients_and_products_of_nothing_are_left_to_pytorch():
    x, weight = numbers(90, 16).requires_grad_(), numbers(4, 16, seed=1)
    multiply(x, weight).sum().backward()
    assert torch.allclose(x.grad, weight.sum(dim=0).expand(90, 16))
    with torch.no_grad():
        assert torch.allclose(multiply(x, weight), linear(x, weight), atol=1e-5)
    assert multiply(numbers(0, 16), weight).shape == (0, 4)
    asked = []
    multiply(numbers(COPIED_ROWS - 1, 4), numbers(4, 9).t(), plain=lambda *given: asked.append(given) or linear(*given))
    multiply(numbers(9, 16, dtype=torch.float64), weight.double(), plain=lambda *given: asked.append(given) or linear(*given))
    assert len(asked) == 2


def test_without_onednn_pytorch_multiplies(monkeypatch):
    monkeypatch.setattr(product, "_kernel", lambda: None)
    x, weight = numbers(90, 16), numbers(4, 16, seed=1)
    assert torch.equal(multiply(x, weight), linear(x, weight))


@pytest.mark.parametrize("width", [40, 300])
def test_tokens_behind_those_that_judge_solve(width):
    z, x = numbers(2, 400, width), numbers(2, 400, width, seed=1)
    streams = (numbers(400, 8, seed=2), numbers(400, 8, seed=3))
    inputs = Inputs(width, True)
    for index in range(2):
        inputs.add(inputs.hold(Batch(z[index], x[index], streams), 2))
    count = HELD_TOKENS // 2
    held = inputs.held()
    assert torch.equal(held.x, x[:, :count].reshape(-1, width)) and torch.equal(held.z, z[:, :count].reshape(-1, width))
    assert torch.equal(held.streams[1], streams[1][:count].repeat(2, 1))
    inputs.complete()
    solving, plain = (each[:, count:].reshape(-1, width).double() for each in (x, z))
    assert inputs.tokens == len(solving)
    assert torch.allclose(inputs.gram, solving.t() @ solving, rtol=1e-4, atol=1e-3)
    assert torch.allclose(inputs.cross.double(), (plain - solving).t() @ solving, rtol=1e-4, atol=1e-2)


def test_short_batches_judge_alone():
    inputs = Inputs(8, False)
    inputs.add(inputs.hold(Batch(None, numbers(20, 8)), 1))
    assert inputs.tokens == 0 and torch.equal(inputs.held().z, numbers(20, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_finite_weights_are_told_from_others_whatever_their_sum(dtype):
    weight = numbers(64, 64).to(dtype)
    most = torch.full((64, 64), torch.finfo(dtype).max, dtype=dtype)  # whose sum in float32 has no end, but for float16
    assert _is_finite(weight) and _is_finite(most)
    for wrong in (float("nan"), float("inf"), -float("inf")):
        weight[3, 5] = wrong
        assert not _is_finite(weight)
    weight[7, 7] = float("inf")  # beside minus infinity
    assert not _is_finite(weight)
