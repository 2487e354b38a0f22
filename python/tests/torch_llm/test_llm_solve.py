"""One linear solved from its sums: targets in closed form, fallbacks, what is accepted."""

import numpy as np
import pytest
import torch

from dopt import native
from dopt.llm.block import LARGE, crosses, crossing
from dopt.llm.factor import factorize, reorder, restore, solve_rows
from dopt.llm.families import Linear
from dopt.llm.gram import Batch, Inputs
from dopt.llm.linear import Weight
from dopt.llm.rows import HostRows
from dopt.llm.solve import Prepared, dequantized
from dopt.llm.solve import solve as solve_all
from dopt.native_rows import RowGrid

SOLVER = {
    "scales": "weighted",
    "rounding": "gptq",
    "actOrder": True,
    "damping": 0.01,
    "dampingMost": 0.1,
    "ridges": [0.1],
    "crossEvery": 1,
    "heads": False,
    "refit": True,
    "sweeps": 1,
}
ROWS = HostRows(native.load())
GRID = RowGrid(16, -8, 7)


def solve(weight, prepared):
    """One linear alone."""
    return solve_all(ROWS, [held(weight)], prepared, [GRID])[0]


def held(weight):
    return Weight(Linear("proj", "linear", tuple(weight.shape), "proj.weight", None, False), weight)


def inputs_of(z, x, judge=200, weight=None, streams=None):
    """Sums, for a weight alone where one is given; ``streams``: what it adds to in the two models."""
    inputs = Inputs(x.shape[1], True, weights=None if weight is None else [held(weight)])
    inputs.add(Batch(z[judge:], x[judge:], streams and tuple(each[judge:] for each in streams)))
    if judge:
        inputs.hold(Batch(z[:judge], x[:judge], streams and tuple(each[:judge] for each in streams)), 1)
    return inputs


def samples(tokens=1200, inputs=48, noise=0.2, seed=0):
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(tokens, inputs, generator=random) @ torch.randn(inputs, inputs, generator=random)
    return z, z + noise * z.std() * torch.randn(tokens, inputs, generator=random)


@pytest.mark.parametrize("size", [5, 256, 300, 700])
def test_a_factor_lies_where_the_matrix_was_and_the_matrix_comes_back(size):
    x = torch.randn(size + 50, size, dtype=torch.float64)
    gram = x.t() @ x
    gram = torch.tril(gram) + torch.tril(gram, -1).t()  # not every processor's product of a matrix with itself is symmetric
    order, diagonal, rows = torch.randperm(size), torch.diagonal(gram).clone(), torch.randn(7, size, dtype=torch.float64)
    ordered, matrix = gram[order][:, order], gram.clone()
    reorder(matrix, order)
    assert torch.equal(matrix, ordered) and factorize(matrix)
    factor = torch.linalg.cholesky(ordered)
    assert torch.allclose(torch.tril(matrix), factor, rtol=1e-9, atol=1e-9 * float(factor.abs().max()))
    solved = rows.clone()
    solve_rows(matrix, solved)
    assert torch.allclose(solved @ ordered, rows, atol=1e-6)
    restore(matrix, diagonal[order])
    reorder(matrix, order.argsort())
    assert torch.equal(matrix, gram)
    matrix[-1, -1] = -1
    assert not factorize(matrix)


@pytest.mark.parametrize("way", ["all", "alone", "stream"])
def test_weights_that_make_up_for_errors_minimize_what_they_say(way):
    z, x = samples()
    weight = torch.randn(300, 48, generator=torch.Generator().manual_seed(1))
    stream = torch.randn(len(z), 300, generator=torch.Generator().manual_seed(2))
    lack = 0.3 * z @ torch.randn(48, 300, generator=torch.Generator().manual_seed(3))
    streams = (stream + lack, stream) if way == "stream" else None
    prepared = Prepared(inputs_of(z, x, judge=0, weight=None if way == "all" else weight, streams=streams), SOLVER)
    with prepared.corrections(0.1) as correction:
        target = weight + torch.cat([correction(0, rows, weight[rows].double()) for rows in (slice(0, 200), slice(200, 300))])
    load = (0.1 * prepared.mean) ** 0.5
    rows = torch.cat([x.double(), load * torch.eye(48, dtype=torch.float64)])
    outputs = z.double() @ weight.double().t() + (0 if streams is None else (streams[0] - streams[1]).double())
    wanted = torch.cat([outputs, load * weight.double().t()])
    best = np.linalg.lstsq(rows.numpy(), wanted.numpy(), rcond=None)[0].T
    assert np.abs(target.numpy() - best).max() < 1e-5


def test_a_linear_makes_up_for_what_the_residual_stream_lacks():
    z, x = samples(noise=0.05)
    weight = torch.randn(32, 48)
    stream = torch.randn(len(z), 32)
    lack = 0.1 * (z @ weight.t()) + 0.02 * torch.randn(len(z), 32)  # most of it can be told from the input
    found = solve(weight, Prepared(inputs_of(z, x, weight=weight, streams=(stream + lack, stream)), SOLVER))
    alone = solve(weight, Prepared(inputs_of(z, x, weight=weight), SOLVER))
    wanted = z[:200] @ weight.t() + lack[:200]
    errors = [float((x[:200] @ dequantized(each.integers, each.scales).t() - wanted).square().sum()) for each in (found, alone)]
    assert found.chosen == "cross" and errors[0] < 0.7 * errors[1]
    assert found.error == pytest.approx(errors[0] / float(wanted.square().sum()), rel=1e-4)


def test_errors_of_some_batches_stand_for_all():
    z, x = samples(noise=0.0)
    off = torch.ones(48) / 48  # the same error everywhere: any half of the batches shows it
    inputs = Inputs(48, True)
    inputs.add(Batch(z[:600] + off, x[:600]))
    inputs.add(Batch(None, x[:600]))
    inputs.complete()
    both = Inputs(48, True)
    for _ in range(2):
        both.add(Batch(z[:600] + off, x[:600]))
    assert torch.allclose(inputs.cross, both.cross, rtol=1e-9) and inputs.tokens == 1200


def test_few_batches_are_all_learned_from_and_all_in_large_models():
    given = {**SOLVER, "crossEvery": 4}
    some = [crossing(given, batches, 10**6) for batches in (3, 8, 32)]
    assert [each["crossEvery"] for each in some] == [1, 2, 4]
    assert [index for index in range(8) if crosses(some[1], index)] == [0, 2, 4, 6]
    assert crossing(given, 32, LARGE)["crossEvery"] == 1


def test_solutions_are_judged_on_other_tokens():
    z, x = samples()
    weight = torch.randn(32, 48)
    found = solve(weight, Prepared(inputs_of(z, x), SOLVER))
    assert found.chosen == "cross" and found.ridge == 0.1 and found.error < 0.9 * found.error_nearest
    made = dequantized(found.integers, found.scales)
    off = ((x[:200] @ made.t() - z[:200] @ weight.t()) ** 2).sum() / ((z[:200] @ weight.t()) ** 2).sum()
    assert found.error == pytest.approx(float(off), rel=1e-4)
    # Held tokens of another kind than those that solve: nothing solved is better than rounding to nearest.
    other = Inputs(48, True)
    other.add(Batch(z, x))
    flipped = torch.randn(200, 48)
    other.hold(Batch(flipped, flipped), 1)
    worse = solve(weight, Prepared(other, SOLVER))
    assert worse.error <= worse.error_nearest


def test_sums_that_give_no_factor():
    weight = torch.randn(8, 48)
    nothing = solve(weight, Prepared(Inputs(48, True), SOLVER))
    assert nothing.chosen == "nearest" and "zero" in nothing.fallback and np.isfinite(nothing.error)
    z, x = samples()
    inputs = inputs_of(z, x)
    # A negative direction, as float32 sums of nearly dependent inputs can have: more than the least damping lifts.
    lifted = inputs.gram.clone()
    vector = torch.linalg.eigh(lifted)[1][:, 0]
    value = float(vector @ lifted @ vector)
    inputs.gram -= (value + 0.02 * float(torch.diagonal(lifted).mean())) * torch.outer(vector, vector)
    ladder = Prepared(inputs, SOLVER)
    with ladder.rounding() as factor:
        assert factor is not None
    assert ladder.fallback is not None and "damping" in ladder.fallback
    inputs.gram -= 100 * float(torch.diagonal(lifted).mean()) * torch.outer(vector, vector)
    torch.diagonal(inputs.gram).abs_()
    broken = solve(weight, Prepared(inputs, {**SOLVER, "ridges": []}))
    assert "not positive definite" in broken.fallback and np.isfinite(broken.error)


def test_an_input_that_is_always_zero():
    z, x = samples()
    z[:, 7] = 0
    x[:, 7] = 0
    weight = torch.randn(8, 48)
    found = solve(weight, Prepared(inputs_of(z, x), SOLVER))
    assert found.chosen != "nearest" and torch.isfinite(found.scales).all()
