"""Integers and scales of one linear from the sums of its input.

Several solutions are made (nearest rounding; error feedback; error feedback towards weights that make up for errors
before the linear) and judged on tokens that did not make them, so that none is taken that is worse than plain rounding.
"""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from dopt.llm.gram import Inputs
from dopt.native_rows import RowGrid

#: Clips that are tried for each group, from this share of the whole range on.
CANDIDATES, LEAST = 64, 0.35


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

    def __init__(self, inputs: Inputs, solver: Dict[str, Any]) -> None:
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
        self._transfers: Dict[float, Any] = {}

    def transfer(self, ridge: float) -> Optional[Any]:
        """T [inputs, inputs] such that W T makes up for the errors in x; None where it cannot be computed.

        It minimizes |W z - V x|^2 + ridge * mean * |V - W|^2 over V: the closed form of GPTAQ (arXiv:2504.02692, section
        4) and Qronos (arXiv:2505.11695), damped.
        """
        import torch

        if ridge not in self._transfers:
            load = ridge * self.mean
            gram, cross = self.inputs.gram.clone(), self.inputs.cross.clone()
            torch.diagonal(gram).add_(load)
            torch.diagonal(cross).add_(load)
            factor = _cholesky(gram)
            solved = None if factor is None else torch.cholesky_solve(cross.t(), factor).t()
            self._transfers = {ridge: solved}  # one at a time: it is as large as the sums
        return self._transfers[ridge]

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

        matrix = self.inputs.gram[self.order][:, self.order]
        diagonal = torch.diagonal(matrix)
        dead = diagonal == 0
        diagonal.add_(damping * self.mean)
        diagonal[dead] = self.mean
        return matrix


def solve(rows: Any, weight: Any, prepared: Prepared, grid: RowGrid) -> Solution:
    """The best solution for a linear. weight: float32 [outputs, inputs]; rows: who solves, of ``dopt.llm.rows``.

    Raises DoptError NATIVE_FAILED.
    """
    solver = prepared.solver
    tries: List[Tuple[str, Optional[float]]] = [("nearest", None)]
    if prepared.factor is not None:
        tries.append(("gptq", None))
        if prepared.inputs.cross is not None:
            tries += [("cross", ridge) for ridge in solver["ridges"]]
    judge = Judge(weight, prepared)
    maker = _Maker(rows, weight.contiguous(), prepared, grid)
    results = []
    for chosen, ridge in tries:
        made = maker.make(chosen, ridge)
        if made is not None:
            results.append((judge.error(*made), chosen, ridge, made))
    nearest = results[0][0]
    error, chosen, ridge, made = min(results, key=lambda result: result[0])
    if chosen != "nearest" and (solver["refit"] or solver["sweeps"]):
        refined = maker.refine(ridge, *made)
        refined_error = judge.error(*refined)
        if refined_error < error:
            error, made = refined_error, refined
    damping = None if chosen == "nearest" else prepared.damping
    return Solution(*made, chosen, ridge, damping, prepared.fallback, error, nearest)


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

    def make(self, chosen: str, ridge: Optional[float]) -> Optional[Tuple[Any, Any]]:
        """(integers, scales) of one try; None where it cannot be computed."""
        import torch

        prepared, parts = self._prepared, []
        if ridge is not None and prepared.transfer(ridge) is None:
            return None
        scales = self._own_scales() if ridge is None else None
        for rows, target in self._targets(ridge):
            if scales is None:
                part = self._find_scales(target.float())
            else:
                part = scales[rows]
            if chosen == "nearest":
                integers = self._rows.group_nearest(target, self._grid, part)
            else:
                integers = self._rows.gram_round(prepared.order, prepared.factor, target, self._grid, part)
            parts.append((integers, part))
        return torch.cat([each for each, _ in parts]), torch.cat([each for _, each in parts])

    def refine(self, ridge: Optional[float], integers: Any, scales: Any) -> Tuple[Any, Any]:
        """A solution with scales and integers moved to where the error on the tokens that solve is less."""
        solver, gram = self._prepared.solver, self._prepared.inputs.gram
        integers, scales = integers.clone(), scales.clone()
        for rows, target in self._targets(ridge):
            part = (scales[rows], integers[rows])  # views: changed in place
            self._rows.gram_refine(gram, target, self._grid, *part, solver["refit"], solver["sweeps"])
        return integers, scales

    def _targets(self, ridge: Optional[float]) -> Iterator[Tuple[slice, Any]]:
        inputs = self._matrix.shape[1]
        count = max(64, self._rows.target_bytes // (8 * inputs) // 64 * 64)
        for first in range(0, len(self._matrix), count):
            rows = slice(first, first + count)
            target = self._matrix[rows].double()
            if ridge is not None:
                target = target @ self._prepared.transfer(ridge)
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
