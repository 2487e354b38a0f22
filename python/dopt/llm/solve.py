"""Integers and scales of one linear from the sums of its input.

Rounded are the weights or others that make up for errors before the linear, whichever serve tokens better that did not make
them; the same tokens judge the integers, so that none are taken that are worse than plain rounding.
"""

from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from dopt.llm.gram import Inputs
from dopt.native_rows import RowGrid

#: Clips that are tried for each group, from this share of the whole range on.
CANDIDATES, LEAST = 64, 0.35
#: Tokens an input from which on solutions are refined: the error on fewer says more of those tokens than of the text.
REFINING_TOKENS = 4


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
    """Factors of an input's Gram matrix, made once for all linears that share the input."""

    def __init__(self, inputs: Inputs, solver: Dict[str, Any], outputs: int) -> None:
        """``outputs``: of all those linears."""
        import torch

        self.inputs, self.solver = inputs, solver
        inputs.complete()
        diagonal = torch.diagonal(inputs.gram)
        self.mean = float(diagonal.mean())
        self.importance = diagonal.clone()
        self.held = inputs.held()
        self.order = self._order(diagonal)
        self.damping: Optional[float] = None
        self.fallback: Optional[str] = None
        self.factor = None
        if solver["rounding"] == "gptq":
            self.factor = self._find_factor()
        self._whole = outputs > len(diagonal)
        #: Whether solutions are moved to where the error on the tokens that solve is less.
        self.refines = bool(solver["refit"] or solver["sweeps"]) and inputs.tokens >= REFINING_TOKENS * len(diagonal)
        self._changes: Dict[float, Any] = {}

    def correction(self, weight: Any, ridge: float) -> Any:
        """What to add to weights W, float64 [outputs, inputs], so that they make up for the errors in x.

        The sum V minimizes |W z - V x|^2 + ridge * mean * |V - W|^2: the closed form of GPTAQ (arXiv:2504.02692, section 4)
        and Qronos (arXiv:2505.11695), damped: V - W = W (z - x).T x (x.T x + ridge * mean)^-1. The last two factors are
        formed where they serve more outputs than there are inputs.
        """
        import torch

        change = self._change(ridge)
        if self._whole:
            return weight @ change
        return torch.cholesky_solve((weight @ self.inputs.cross).t(), change).t()

    def can_make_up(self, ridge: float) -> bool:
        """Whether the sums have a solution for a ridge."""
        return self._change(ridge) is not None

    def _change(self, ridge: float) -> Optional[Any]:
        """The factors behind W as one matrix, or the Cholesky factor of the last of them."""
        import torch

        if ridge not in self._changes:
            gram = self.inputs.gram.clone()
            torch.diagonal(gram).add_(ridge * self.mean)
            change = _cholesky(gram)
            del gram
            if change is not None and self._whole:
                change = torch.cholesky_solve(self.inputs.cross.t(), change).t()
            self._changes = {ridge: change}  # one at a time: it is as large as the sums
        return self._changes[ridge]

    def _order(self, diagonal: Any) -> Any:
        import torch

        if self.solver["actOrder"]:
            return torch.sort(diagonal, stable=True).indices
        return torch.arange(len(diagonal) - 1, -1, -1, device=diagonal.device)

    def _find_factor(self) -> Optional[Any]:
        """The factor with the least damping that gives one, then of diagonal blocks alone, then none."""
        if not (self.mean > 0 and self.mean < float("inf")):
            self.fallback = "its input is zero or not finite on all tokens: rounded to nearest"
            return None
        damping = self.solver["damping"]
        while damping <= self.solver["dampingMost"] * 1.001:
            factor = _cholesky(self._damped(damping))
            if factor is not None:
                if damping > self.solver["damping"]:
                    self.fallback = f"the Gram matrix needed damping {damping:g}"
                self.damping = damping
                return factor.contiguous()
            damping *= 10**0.5
        self.damping = self.solver["dampingMost"]
        factor = _cholesky(_block_diagonal(self._damped(self.damping), 128))
        how = "rounded to nearest" if factor is None else "solved in diagonal blocks of 128"
        self.fallback = f"the Gram matrix is not positive definite at damping {self.damping:g}: {how}"
        return None if factor is None else factor.contiguous()

    def _damped(self, damping: float) -> Any:
        import torch

        matrix = self.inputs.gram[self.order[:, None], self.order]
        diagonal = torch.diagonal(matrix)
        dead = diagonal == 0
        diagonal.add_(damping * self.mean)
        diagonal[dead] = self.mean
        return matrix


def solve(rows: Any, weight: Any, prepared: Prepared, grid: RowGrid) -> Solution:
    """The best solution for a linear. weight: float32 [outputs, inputs]; rows: who solves, of ``dopt.llm.rows``.

    Raises DoptError NATIVE_FAILED.
    """
    judge = Judge(weight, prepared)
    maker = _Maker(rows, weight.contiguous(), prepared, grid)
    made = maker.nearest()
    error = nearest = judge.error(*made)
    chosen, ridge = "nearest", None
    for load in _loads(judge, maker, prepared):  # the second where the first is worse than rounding
        found = maker.make(load)
        found_error = judge.error(*found)
        if found_error < error:
            error, chosen, ridge, made = found_error, "gptq" if load is None else "cross", load, found
            break
    if chosen != "nearest" and prepared.refines:
        refined = maker.refine(ridge, *made)
        refined_error = judge.error(*refined)
        if refined_error < error:
            error, made = refined_error, refined
    damping = None if chosen == "nearest" else prepared.damping
    return Solution(*made, chosen, ridge, damping, prepared.fallback, error, nearest)


def _loads(judge: "Judge", maker: "_Maker", prepared: Prepared) -> List[Optional[float]]:
    """Ridges to solve with, None for the given weights, in the order of their promise."""
    if prepared.factor is None:
        return []
    best = None if prepared.inputs.cross is None else _best_ridge(judge, maker, prepared)
    return [None] if best is None else [best, None]


def _best_ridge(judge: "Judge", maker: "_Maker", prepared: Prepared) -> Optional[float]:
    """The ridge whose weights, not yet rounded, serve the tokens that judge best; None where the given weights do."""
    least, best = judge.unrounded([(slice(None), judge.weight)]), None
    for ridge in prepared.solver["ridges"]:
        error = judge.unrounded(maker.targets(ridge)) if prepared.can_make_up(ridge) else least
        if error < least:
            least, best = error, ridge
    return best


class Judge:
    """Error of a linear's output on tokens that judge: squared, over the power of the output."""

    def __init__(self, weight: Any, prepared: Prepared) -> None:
        held = prepared.held
        self.weight, self.prepared = weight, prepared
        self.x = None if held is None else held[1]
        self.wanted = None if held is None else held[0] @ weight.t()
        self.power = 0.0 if held is None else squares(self.wanted)

    def error(self, integers: Any, scales: Any) -> float:
        import torch

        made = dequantized(integers, scales)
        if self.x is not None and self.power > 0:
            return squares((self.x @ made.t()).sub_(self.wanted)) / self.power
        # No tokens that judge: the error on those that solve, input errors left out.
        off, gram = (made - self.weight).double(), self.prepared.inputs.gram
        power = float(((self.weight.double() @ gram) * self.weight.double()).sum())
        error = float(((off @ gram) * off).sum()) if power > 0 else float((off**2).sum())
        power = power if power > 0 else float((self.weight.double() ** 2).sum())
        return error / power if power > 0 else float(torch.zeros(()))

    def unrounded(self, targets: Iterable[Tuple[slice, Any]]) -> float:
        """Squared error of other weights' outputs, given in parts of their rows; 0 where no tokens judge."""
        if self.x is None:
            return 0.0
        made = ((rows, self.x @ target.float().t()) for rows, target in targets)
        return sum(squares(outputs.sub_(self.wanted[:, rows])) for rows, outputs in made)


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
    return (integers.view(outputs, groups, inputs // groups).float() * scales[:, :, None]).view(outputs, inputs)


def grid_of(strategy: Dict[str, Any], inputs: int) -> RowGrid:
    """The grid of ``llmStrategySchema``."""
    most = 2 ** (strategy["bits"] - 1) - 1
    return RowGrid(strategy["groupSize"] or inputs, -most - int(strategy["fullRange"]), most)


class _Maker:
    """Solutions of one linear, made in parts of its rows so that float64 targets stay small."""

    def __init__(self, rows: Any, matrix: Any, prepared: Prepared, grid: RowGrid) -> None:
        self._rows, self._matrix, self._prepared, self._grid = rows, matrix, prepared, grid
        self._scales: Optional[Any] = None  # of the weights themselves
        self._kept: Optional[Tuple[Optional[float], Any]] = None

    def nearest(self) -> Tuple[Any, Any]:
        """(integers, scales) of the weights rounded to nearest."""
        import torch

        scales = self._own_scales()
        parts = [self._rows.group_nearest(target, self._grid, scales[rows]) for rows, target in self.targets(None)]
        return torch.cat(parts), scales

    def make(self, ridge: Optional[float]) -> Tuple[Any, Any]:
        """(integers, scales) with error feedback, of the weights or of those that make up for errors before the linear."""
        import torch

        prepared, parts = self._prepared, []
        for rows, target in self.targets(ridge):
            part = self._own_scales()[rows] if ridge is None else self._find_scales(target.float())
            parts.append((self._rows.gram_round(prepared.order, prepared.factor, target, self._grid, part), part))
        return torch.cat([each for each, _ in parts]), torch.cat([each for _, each in parts])

    def refine(self, ridge: Optional[float], integers: Any, scales: Any) -> Tuple[Any, Any]:
        """A solution with scales and integers moved to where the error on the tokens that solve is less."""
        solver, gram = self._prepared.solver, self._prepared.inputs.gram
        integers, scales = integers.clone(), scales.clone()
        for rows, target in self.targets(ridge):
            part = (scales[rows], integers[rows])  # views: changed in place
            self._rows.gram_refine(gram, target, self._grid, *part, solver["refit"], solver["sweeps"])
        return integers, scales

    def targets(self, ridge: Optional[float]) -> Iterable[Tuple[slice, Any]]:
        """What is rounded, float64, in parts of the rows; kept where it is one."""
        count = max(64, self._rows.target_bytes // (8 * self._matrix.shape[1]) // 64 * 64)
        if count < len(self._matrix):
            return self._targets(ridge, count)
        if self._kept is None or self._kept[0] != ridge:
            self._kept = (ridge, list(self._targets(ridge, count)))
        return self._kept[1]

    def _targets(self, ridge: Optional[float], count: int) -> Iterator[Tuple[slice, Any]]:
        for first in range(0, len(self._matrix), count):
            rows = slice(first, first + count)
            target = self._matrix[rows].double()
            if ridge is not None:
                target += self._prepared.correction(target, ridge)
            yield rows, target

    def _own_scales(self) -> Any:
        if self._scales is None:
            self._scales = self._find_scales(self._matrix)
        return self._scales

    def _find_scales(self, weights: Any) -> Any:
        kind, prepared = self._prepared.solver["scales"], self._prepared
        importance = prepared.importance if kind == "weighted" and prepared.mean > 0 else None
        return self._rows.group_scales(weights, self._grid, importance, 1 if kind == "absmax" else CANDIDATES, LEAST)


def _cholesky(matrix: Any) -> Optional[Any]:
    """The lower factor, contiguous; None where there is none."""
    import torch

    upper, info = torch.linalg.cholesky_ex(matrix, upper=True)  # LAPACK's columns are the rows of the lower one
    return upper.t() if int(info) == 0 and bool(torch.isfinite(torch.diagonal(upper)).all()) else None


def _block_diagonal(matrix: Any, size: int) -> Any:
    import torch

    out = torch.zeros_like(matrix)
    for first in range(0, len(matrix), size):
        part = slice(first, first + size)
        out[part, part] = matrix[part, part]
    return out
