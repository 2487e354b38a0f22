"""Weights in groups: the native core against numpy, and against GPTQ as it is usually written."""

import os

import numpy as np
import pytest
from dopt import native
from dopt.native_numpy import NumpyCore
from dopt.native_rows import RowGrid

LIBRARY = native.candidates()[0]


@pytest.fixture(scope="module")
def core():
    if not os.path.exists(LIBRARY):
        pytest.skip("no native library at %s: run npm run build:native" % LIBRARY)
    return native.NativeCore(LIBRARY)


class Problem:
    """A linear with correlated inputs of very different power."""

    def __init__(self, seed):
        random = np.random.RandomState(seed)
        self.outputs, self.inputs = random.randint(1, 90), random.randint(2, 200)
        group = int(random.choice([4, 16, 32, self.inputs]))
        bits = random.randint(2, 6)
        self.grid = RowGrid(group, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        gains = np.exp(random.randn(self.inputs))
        x = random.randn(3 * self.inputs, self.inputs) @ random.randn(self.inputs, self.inputs) * gains
        self.weights = random.standard_t(5, (self.outputs, self.inputs)).astype(np.float32)
        self.gram = x.T @ x
        self.damped = self.gram + 0.01 * np.trace(self.gram) / self.inputs * np.eye(self.inputs)
        self.target = self.weights.astype(np.float64)
        self.order = np.argsort(np.diag(self.gram), kind="stable")

    def forms(self):
        """Over the outputs of runs of rows, [runs, run, run]."""
        random = np.random.RandomState(self.outputs)
        run = next(each for each in (8, 5, 4, 3, 2, 1) if self.outputs % each == 0)
        g = random.randn(self.outputs // run, 3 * run, run) @ random.randn(run, run)
        return g.transpose(0, 2, 1) @ g

    def run_factors(self):
        return np.linalg.cholesky(self.forms())

    def factor(self):
        return np.linalg.cholesky(self.damped[np.ix_(self.order, self.order)])


def textbook(problem, scales):
    """GPTQ column by column with the Cholesky factor of the inverse (Frantar et al., arXiv:2210.17323, algorithm 1)."""
    order = problem.order[::-1]
    w = problem.target[:, order].copy()
    steps = np.repeat(scales.astype(np.float64), problem.grid.group, axis=1)[:, : problem.inputs][:, order]
    upper = np.linalg.cholesky(np.linalg.inv(problem.damped[np.ix_(order, order)])).T
    out = np.zeros(w.shape, np.int8)
    for k in range(problem.inputs):
        q = np.clip(np.rint(w[:, k] / steps[:, k]), problem.grid.qmin, problem.grid.qmax)
        out[:, order[k]] = q
        error = (w[:, k] - q * steps[:, k]) / upper[k, k]
        w[:, k:] -= np.outer(error, upper[k, k:])
    return out


@pytest.mark.parametrize("seed", range(20))
def test_integers_are_those_of_textbook_gptq_whatever_the_threads(core, seed):
    problem = Problem(seed)
    scales = core.group_scales(problem.weights, problem.grid, np.diag(problem.gram).copy(), 40, 0.3)
    found = []
    for threads in (1, 2):
        core.set_threads(threads)
        found.append(core.gram_round(problem.order, problem.factor(), problem.target, problem.grid, scales))
    core.set_threads(0)
    assert np.array_equal(found[0], textbook(problem, scales))
    assert np.array_equal(found[0], found[1])


@pytest.mark.parametrize("seed", range(20))
def test_rows_rounded_together_are_textbook_gptq_on_all_their_weights_at_once(core, seed):
    problem = Problem(300 + seed)
    problem.inputs = min(problem.inputs, 24)
    for name in ("weights", "target"):
        setattr(problem, name, np.ascontiguousarray(getattr(problem, name)[:, : problem.inputs]))
    problem.gram, problem.damped = (each[: problem.inputs, : problem.inputs] for each in (problem.gram, problem.damped))
    problem.order = np.argsort(np.diag(problem.gram), kind="stable")
    problem.grid = problem.grid._replace(group=min(problem.grid.group, problem.inputs))
    scales = core.group_scales(problem.weights, problem.grid, np.diag(problem.gram).copy(), 40, 0.3)
    given = (problem.order, problem.factor(), problem.target, problem.grid, scales, problem.run_factors())
    found = []
    for threads in (1, 2):
        core.set_threads(threads)
        found.append(core.gram_round(*given))
    core.set_threads(0)
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], NumpyCore().gram_round(*given))

    steps = np.repeat(scales.astype(np.float64), problem.grid.group, axis=1)[:, : problem.inputs]
    forms = problem.forms()
    run = forms.shape[1]
    for number, form in enumerate(forms):
        rows = slice(number * run, (number + 1) * run)
        # One linear of one row: inputs from the last of the order on, in each of them rows from the last on.
        whole = Problem(0)
        whole.inputs, whole.outputs = problem.inputs * run, 1
        inner = problem.order[:, None] * run + np.arange(run)  # where weight (input, row) lies in `target`
        whole.order, whole.damped = inner.reshape(-1), np.kron(problem.damped, form)
        whole.target, whole.grid = problem.target[rows].T.reshape(1, -1), problem.grid._replace(group=1)
        wanted = textbook(whole, steps[rows].T.reshape(1, -1))
        assert np.array_equal(found[0][rows], wanted.reshape(problem.inputs, run).T)


@pytest.mark.parametrize("seed", range(8))
def test_native_and_numpy_agree(core, seed):
    problem = Problem(100 + seed)
    slow = NumpyCore()
    for importance in (None, np.diag(problem.gram).copy()):
        scales = core.group_scales(problem.weights, problem.grid, importance, 30, 0.4)
        assert np.array_equal(scales, slow.group_scales(problem.weights, problem.grid, importance, 30, 0.4))
    nearest = core.group_nearest(problem.target, problem.grid, scales)
    assert np.array_equal(nearest, slow.group_nearest(problem.target, problem.grid, scales))
    first = [scales.copy(), nearest.copy()]
    second = [scales.copy(), nearest.copy()]
    core.gram_refine(problem.gram, problem.target, problem.grid, *first, True, 2)
    slow.gram_refine(problem.gram, problem.target, problem.grid, *second, True, 2)
    assert np.mean(first[1] != second[1]) < 0.01  # fitted scales may differ in their last bit, and integers after it


def loss(problem, scales, integers):
    off = problem.target - integers * np.repeat(scales, problem.grid.group, axis=1)[:, : problem.inputs]
    return float(((off @ problem.gram) * off).sum())


@pytest.mark.parametrize("seed", range(6))
def test_every_step_lowers_the_error(core, seed):
    problem = Problem(200 + seed)
    scales = core.group_scales(problem.weights, problem.grid, np.diag(problem.gram).copy(), 60, 0.3)
    integers = core.gram_round(problem.order, problem.factor(), problem.target, problem.grid, scales)
    losses = [loss(problem, scales, integers)]
    for refit, sweeps in ((True, 0), (False, 1), (True, 2)):
        core.gram_refine(problem.gram, problem.target, problem.grid, scales, integers, refit, sweeps)
        losses.append(loss(problem, scales, integers))
    assert all(after <= before * (1 + 1e-9) for before, after in zip(losses, losses[1:]))
    assert integers.min() >= problem.grid.qmin and integers.max() <= problem.grid.qmax
    assert np.array_equal(scales, scales.astype(np.float16).astype(np.float32))


def test_groups_of_zeros_and_a_short_last_group(core):
    weights = np.zeros((3, 10), np.float32)
    weights[1, 9] = -4
    scales = core.group_scales(weights, RowGrid(4, -8, 7), None, 20, 0.5)
    assert scales.shape == (3, 3) and np.array_equal(scales[:, 0], np.ones(3)) and scales[1, 2] == 0.5
    assert core.group_nearest(weights.astype(np.float64), RowGrid(4, -8, 7), scales)[1, 9] == -8
