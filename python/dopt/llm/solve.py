"""Integers and scales of one linear from the sums of its input.

Rounded are the weights or others that make up for errors before the linear, whichever serve tokens better that did not make
them; the same tokens judge the integers, so that none are taken that are worse than plain rounding.
"""

import contextlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from dopt.llm.factor import BLOCK, factorize, reorder, restore, solve_rows
from dopt.llm.gram import EXACT_INPUTS, Inputs
from dopt.llm.heads import Heads
from dopt.llm.product import multiply
from dopt.native_rows import RowGrid

#: Clips that are tried for each group, from this share of the whole range on.
CANDIDATES, LEAST = 32, 0.35
#: The same, as dense, for a second try where a row has one scale: what a clipped tail costs behind error feedback depends on the text.
GENTLE_CANDIDATES, GENTLE = 10, 0.8
#: correction(place, rows, weight) of ``Prepared.corrections``.
Correction = Callable[[int, slice, Any], Any]
#: Tokens an input from which on solutions are refined: the error on fewer says more of those tokens than of the text.
REFINING_TOKENS = 8
#: Sums up to this size are copied for their factors: larger ones make room for them where they lie, which takes longer.
COPIED_BYTES = 24 << 20


class Solution(NamedTuple):
    """``integers`` int8 [outputs, inputs], ``scales`` float32 [outputs, groups], tensors, and how they came about."""

    integers: Any
    scales: Any
    chosen: str
    ridge: Optional[float]
    damping: Optional[float]
    fallback: Optional[str]
    error: float
    error_nearest: float

    def told(self, name: str, block: Optional[int], tokens: Dict[str, int]) -> Dict[str, Any]:
        """``linearResultSchema``; ``tokens``: how many every linear's inputs came from."""
        return {
            "name": name,
            "block": block,
            "chosen": self.chosen,
            "ridge": self.ridge,
            "damping": self.damping,
            "fallback": self.fallback,
            "error": self.error,
            "errorNearest": self.error_nearest,
            "tokens": tokens.get(name, 0),
        }


class Prepared:
    """Sums over an input, made ready for all linears that share it; the one large matrix is their place for factors as well."""

    def __init__(self, inputs: Inputs, solver: Dict[str, Any]) -> None:
        import torch

        self.inputs, self.solver = inputs, solver
        inputs.complete()
        self.importance = torch.diagonal(inputs.gram).clone()
        self.mean = float(self.importance.mean())
        self.held = inputs.held()
        self.order = self._find_order()
        self.damping: Optional[float] = None
        self.fallback: Optional[str] = None
        self._ordered, self._copies = False, 8 * len(self.importance) ** 2 <= COPIED_BYTES
        #: Whether solutions are moved to where the error on the tokens that solve is less.
        self.refines = bool(solver["refit"] or solver["sweeps"]) and inputs.tokens >= REFINING_TOKENS * len(self.importance)

    @property
    def is_sound(self) -> bool:
        """Whether there is something to solve from."""
        return self.mean > 0 and self.mean < float("inf")

    @contextlib.contextmanager
    def corrections(self, ridge: float, last: bool = True) -> Iterator[Optional[Correction]]:
        """correction(place, rows, W): what to add to the rows W [outputs, inputs] of a linear, the one at ``place`` of those that
        share the input, so that they make up for the errors in x; None where the sums have no solution. ``last``: no other
        ridge is asked for after it.

        The sum V minimizes |W z + r - V x|^2 + ridge * mean * |V - W|^2: the closed form of GPTAQ (arXiv:2504.02692, section 4)
        and Qronos (arXiv:2505.11695), damped, and with r, what the residual stream lacks where the linear adds to it:
        V - W = (W (z - x).T + r) x (x.T x + ridge * mean)^-1. Without r the last factors are formed where they serve more
        outputs than there are inputs.
        """
        import torch

        gram, inputs = self.inputs.gram, self.inputs
        # Its largest eigenvalue is below n * mean, so that float32 costs n / ridge * 1e-7 of the correction at the most.
        dtype = torch.float64 if not self._copies or len(gram) <= EXACT_INPUTS else torch.float32
        matrix = gram.to(dtype, copy=True) if self._copies else gram
        torch.diagonal(matrix).add_(ridge * self.mean)
        try:
            if not factorize(matrix):
                yield None
            elif inputs.cross is not None:
                change = inputs.cross.to(dtype, copy=not last)
                solve_rows(matrix, change)
                turned = change.t().contiguous()
                yield lambda _place, _rows, weight: multiply(weight.to(dtype), turned)
            else:
                yield lambda place, rows, _weight: self._solved(matrix, inputs.missing[place][rows].to(dtype, copy=True))
        finally:
            if not self._copies:
                restore(gram, self.importance)

    def _solved(self, matrix: Any, rows: Any) -> Any:
        solve_rows(matrix, rows)
        return rows

    @contextlib.contextmanager
    def rounding(self) -> Iterator[Optional[Any]]:
        """The factor of the ordered and damped sums, in the lower triangle of a matrix [inputs, inputs]; None where there is none."""
        if not self.is_sound:
            self.fallback = "its input is zero or not finite on all tokens: rounded to nearest"
            yield None
            return
        gram = self.inputs.gram
        if self._copies:
            matrix = gram[self.order][:, self.order]
            yield matrix if self._factorize_damped(matrix) else None
            return
        reorder(gram, self.order)
        self._ordered = True
        try:
            yield gram if self._factorize_damped(gram) else None
        finally:
            restore(gram, self.importance[self.order])
            if self.refines:
                reorder(gram, self.order.argsort())
                self._ordered = False

    def power(self, weight: Any) -> float:
        """Squared output on the tokens that solve of weights [outputs, inputs], whatever the lower triangle holds now. Of more than
        ``EXACT_INPUTS`` inputs in float32: errors are compared by it, which differ in the first digits."""
        import torch

        gram = self.inputs.gram
        w = weight.double() if len(gram) <= EXACT_INPUTS else weight.float()
        total = float((w.double() ** 2 @ self.importance).sum())
        if self._ordered:
            w = w[:, self.order]
        for first in range(0, len(gram), BLOCK):
            rows = slice(first, first + BLOCK)
            right = torch.triu(gram[rows, first:], 1).to(w.dtype)
            total += 2 * float(((w[:, rows] @ right) * w[:, first:]).sum(dtype=torch.float64))
        return total

    def _find_order(self) -> Any:
        import torch

        if self.solver["actOrder"]:
            return torch.sort(self.importance, stable=True).indices
        return torch.arange(len(self.importance) - 1, -1, -1, device=self.importance.device)

    def _factorize_damped(self, gram: Any) -> bool:
        """With the least damping that gives a factor, then of diagonal blocks alone, then not at all."""
        damping = self.solver["damping"]
        while damping <= self.solver["dampingMost"] * 1.001:
            self._damp(gram, damping)
            if factorize(gram):
                if damping > self.solver["damping"]:
                    self.fallback = f"the Gram matrix needed damping {damping:g}"
                self.damping = damping
                return True
            restore(gram, self.importance[self.order])
            damping *= 10**0.5
        self.damping = self.solver["dampingMost"]
        self._damp(gram, self.damping)
        found = _factorize_blocks(gram, 128)
        how = "solved in diagonal blocks of 128" if found else "rounded to nearest"
        self.fallback = f"the Gram matrix is not positive definite at damping {self.damping:g}: {how}"
        return found

    def _damp(self, gram: Any, damping: float) -> None:
        import torch

        diagonal = torch.diagonal(gram)
        dead = diagonal == 0
        diagonal.add_(damping * self.mean)
        diagonal[dead] = self.mean


def _factorize_blocks(gram: Any, size: int) -> bool:
    """The factor of the blocks on the diagonal, in the lower triangle."""
    for first in range(0, len(gram), size):
        rows = slice(first, first + size)
        gram[rows, :first] = 0
        if not factorize(gram[rows, rows]):
            return False
    return True


def solve(
    rows: Any, weights: List[Any], prepared: Prepared, grids: List[RowGrid], heads: Optional[List[Optional[Heads]]] = None
) -> List[Solution]:
    """The best solutions for linears that share an input. weights: of ``dopt.llm.linear``; rows: who solves, of ``dopt.llm.rows``;
    heads: of the linears whose rows are rounded together, None for others.

    All are rounded before one is refined: what they are rounded with lies where the sums do.
    Raises DoptError NATIVE_FAILED.
    """
    solver = prepared.solver
    tries = [_Try(rows, *each, prepared) for each in zip(weights, grids, heads or [None] * len(weights))]
    for each in tries:
        each.nearest()
    if solver["rounding"] == "gptq":
        if prepared.is_sound and prepared.held is not None and prepared.inputs.has_cross:
            for ridge in solver["ridges"]:
                with prepared.corrections(ridge, ridge == solver["ridges"][-1]) as correction:
                    for place, each in enumerate(tries):
                        each.make_up(ridge, correction, place)
        prepared.inputs.forget_cross()
        with prepared.rounding() as factor:
            for each in tries:
                each.round(factor)
        for each in tries:
            each.refine()
    return [each.solution() for each in tries]


class _Try:
    """The solution of one linear as far as it is found, made in parts of its rows so that float32 and float64 copies stay small."""

    def __init__(self, rows: Any, weight: Any, grid: RowGrid, heads: Optional[Heads], prepared: Prepared) -> None:
        self._rows, self._weight, self._prepared, self._grid, self._heads = rows, weight, prepared, grid, heads
        self._target: Optional[Any] = None  # float32 [outputs, inputs] that make up for errors before the linear
        self._ridge: Optional[float] = None
        self._whole: Optional[Tuple[float, float]] = None  # ``_sizes`` of the weights themselves
        self._chosen, self._made = "nearest", (None, None)
        self._judge()
        self._error = self._error_nearest = 0.0

    def _judge(self) -> None:
        """What the tokens that judge should give, with what the residual stream lacks: ``_wanted`` [tokens, outputs] float32,
        and its power."""
        import torch

        held, self._wanted = self._prepared.held, None
        self._power = self._least = 0.0
        if held is not None:
            parts = [multiply(held.z, self._part(rows)) for rows in self._parts()]
            self._wanted = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            if held.streams is not None:
                self._wanted += held.lack()
            self._power = sum(self._size(self._wanted[:, rows], rows) for rows in self._parts())

    def nearest(self) -> None:
        """The weights rounded to nearest, with scales that serve error feedback as well."""
        import torch

        made = []
        for rows in self._parts():
            part = self._part(rows)
            scales = self._find_scales(part)
            made.append((self._rows.group_nearest(part.double(), self._grid, scales), scales))
        self._own_scales = torch.cat([scales for _, scales in made])
        self._made = (torch.cat([integers for integers, _ in made]), self._own_scales)
        self._error = self._error_nearest = self._error_of(*self._made)
        if self._wanted is not None:
            self._least = self._unrounded(self._part)

    def make_up(self, ridge: float, correction: Optional[Correction], place: int) -> None:
        """Other weights, where they, not yet rounded, serve the tokens that judge better; ``correction``: of a ridge."""
        import torch

        if correction is None:
            return
        target = torch.empty(self._weight.shape, device=self._prepared.importance.device)
        for rows in self._parts():
            part = self._part(rows)
            target[rows] = correction(place, rows, part).add_(part)
        error = self._unrounded(lambda rows: target[rows])
        if error < self._least:
            self._least, self._target, self._ridge = error, target, ridge

    def round(self, factor: Optional[Any]) -> None:
        """Error feedback: of the weights that make up for errors, and of the given ones where that is worse than rounding to nearest."""
        if factor is None:
            return
        for target in [None] if self._target is None else [self._target, None]:
            *found, error = self._feed_back(factor, target)
            if error < self._error:
                self._error, self._made, self._chosen = error, tuple(found), "gptq" if target is None else "cross"
                break
        if self._chosen != "cross":
            self._target = self._ridge = None

    def refine(self) -> None:
        """Scales and integers moved to where the error on the tokens that solve is less, where that serves those that judge.
        Not those of rows that were rounded together: each would be moved as if it were alone."""
        solver, gram = self._prepared.solver, self._prepared.inputs.gram
        if self._chosen == "nearest" or not self._prepared.refines or self._heads is not None:
            return
        integers, scales = (each.clone() for each in self._made)
        for rows in self._parts():
            part = (scales[rows], integers[rows])  # views: changed in place
            target = self._part(rows, self._target).double()
            self._rows.gram_refine(gram, target, self._grid, *part, solver["refit"], solver["sweeps"])
        error = self._error_of(integers, scales)
        if error < self._error:
            self._error, self._made = error, (integers, scales)

    def solution(self) -> Solution:
        """What was found."""
        damping = None if self._chosen == "nearest" else self._prepared.damping
        told = (self._chosen, self._ridge, damping, self._prepared.fallback, self._error, self._error_nearest)
        return Solution(*self._made, *told)

    def _feed_back(self, factor: Any, target: Optional[Any]) -> Tuple[Any, Any, float]:
        """Integers, scales and the error of the output."""
        import torch

        made, off = [], 0.0
        judged = self._wanted is not None and self._power > 0 and self._heads is None
        for rows in self._parts():
            part = self._part(rows, target)
            scales = self._own_scales[rows].clone() if target is None else self._find_scales(part)
            given = (self._prepared.order, factor, part.double(), self._grid, scales)
            integers = self._rows.gram_round(*given) if self._heads is None else self._heads.round(self._rows, *given, rows)
            if judged:
                wanted = self._wanted[:, rows]  # type: ignore[index]
                errors = self._row_errors(integers, scales, wanted)
                if self._grid.group == part.shape[1]:
                    self._clip_less(factor, part, wanted, errors, integers, scales)
                off += float(errors.sum(dtype=torch.float64))
            made.append((integers, scales))
        found = torch.cat([integers for integers, _ in made]), torch.cat([scales for _, scales in made])
        return (*found, off / self._power if judged else self._error_of(*found))

    def _clip_less(self, factor: Any, part: Any, wanted: Any, errors: Any, integers: Any, scales: Any) -> None:
        """Rows that serve the tokens that judge better when less of them is clipped, in place; ``errors``: of each row."""
        least = part.amax(dim=1).div(self._grid.qmax).maximum(part.amin(dim=1).div(self._grid.qmin)).mul_(GENTLE)
        at = (scales[:, 0] < least).nonzero()[:, 0]
        if len(at) == 0:
            return
        rows = part[at]
        gentle = self._find_scales(rows, GENTLE_CANDIDATES, GENTLE)
        other = self._rows.gram_round(self._prepared.order, factor, rows.double(), self._grid, gentle)
        after = self._row_errors(other, gentle, wanted[:, at])
        better = after < errors[at]
        at = at[better]
        integers[at], scales[at], errors[at] = other[better], gentle[better], after[better]

    def _row_errors(self, integers: Any, scales: Any, wanted: Any) -> Any:
        """float32 [outputs]: squared error of each output on the tokens that judge."""
        x = self._prepared.held.x  # type: ignore[union-attr]
        return multiply(x, dequantized(integers, scales)).sub_(wanted).square_().sum(dim=0)

    def _error_of(self, integers: Any, scales: Any) -> float:
        """Squared error of the output on tokens that judge, over its power."""
        if self._wanted is not None and self._power > 0:
            return self._off(lambda rows: dequantized(integers[rows], scales[rows])) / self._power
        # No tokens that judge: the error on those that solve, input errors left out.
        if self._whole is None:
            self._whole = self._sizes(self._part)
        power, size = self._whole
        error, plain = self._sizes(lambda rows: dequantized(integers[rows], scales[rows]) - self._part(rows))
        if power > 0:
            return max(0.0, error) / power
        return plain / size if size > 0 else 0.0

    def _sizes(self, part: Callable[[slice], Any]) -> Tuple[float, float]:
        """Squared output on the tokens that solve of weights, given in parts of their rows, and the sum of their squares."""
        power = size = 0.0
        for rows in self._parts():
            w = part(rows)
            w = w if self._heads is None else self._heads.weighed(w.t(), rows).t()
            power, size = power + self._prepared.power(w), size + squares(w)
        return power, size

    def _off(self, part: Callable[[slice], Any]) -> float:
        """Squared error of the outputs of other weights, given in parts of their rows."""
        x = self._prepared.held.x  # type: ignore[union-attr]
        return sum(self._size(multiply(x, part(rows)).sub_(self._wanted[:, rows]), rows) for rows in self._parts())  # type: ignore[index]

    _unrounded = _off

    def _size(self, errors: Any, rows: slice) -> float:
        """Sum of the squares of errors [tokens, outputs] of some outputs, weighed where heads weigh them."""
        return squares(errors if self._heads is None else self._heads.weighed(errors, rows))

    def _parts(self) -> List[slice]:
        outputs, inputs = self._weight.shape
        unit = 64 if self._heads is None else self._heads.width
        count = max(unit, self._rows.target_bytes // (8 * inputs) // unit * unit)
        return [slice(first, min(outputs, first + count)) for first in range(0, outputs, count)]

    def _part(self, rows: slice, target: Optional[Any] = None) -> Any:
        """float32 rows of the weights, or of those that make up for errors."""
        return self._weight.rows(rows) if target is None else target[rows]

    def _find_scales(self, weights: Any, candidates: int = CANDIDATES, least: float = LEAST) -> Any:
        kind, prepared = self._prepared.solver["scales"], self._prepared
        importance = prepared.importance if kind == "weighted" and prepared.mean > 0 else None
        return self._rows.group_scales(weights, self._grid, importance, 1 if kind == "absmax" else candidates, least)


def squares(tensor: Any) -> float:
    """Sum of the squares of a float32 tensor: of short parts in float32, over them in double."""
    import torch

    if tensor.device.type != "cpu":  # where every number asked for is a wait
        return float((tensor * tensor).sum(dtype=torch.float64))
    return sum(float(torch.dot(part, part)) for part in tensor.reshape(-1).split(1 << 14))


def dequantized(integers: Any, scales: Any) -> Any:
    """float32 [outputs, inputs] of integers [outputs, inputs] and scales [outputs, groups], tensors."""
    outputs, inputs = integers.shape
    groups = scales.shape[1]
    return integers.view(outputs, groups, inputs // groups).float().mul_(scales[:, :, None]).view(outputs, inputs)


def grid_of(strategy: Dict[str, Any], inputs: int) -> RowGrid:
    """The grid of ``llmStrategySchema``."""
    most = 2 ** (strategy["bits"] - 1) - 1
    return RowGrid(strategy["groupSize"] or inputs, -most - int(strategy["fullRange"]), most)
