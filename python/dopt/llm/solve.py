"""Integers and scales of one linear from the sums of its input.

Several solutions are made (nearest rounding; error feedback; error feedback towards weights that make up for errors
before the linear) and judged on tokens that did not make them, so that none is taken that is worse than plain rounding.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from dopt.llm.gram import Inputs
from dopt.native_rows import RowGrid

#: Clips that are tried for each group, from this share of the whole range on.
CANDIDATES, LEAST = 64, 0.35
#: Bytes of float64 targets that are solved at a time.
TARGET_BYTES = 64 << 20


class Solution(NamedTuple):
    """``integers`` int8 [outputs, inputs], ``scales`` float32 [outputs, groups], and how they came about."""

    integers: Any
    scales: Any
    chosen: str
    ridge: Optional[float]
    damping: Optional[float]
    fallback: Optional[str]
    error: float
    error_nearest: float


class Prepared:
    """Factors of an input's Gram matrix, made once for all linears that share the input."""

    def __init__(self, inputs: Inputs, solver: Dict[str, Any]) -> None:
        import torch

        self.inputs, self.solver = inputs, solver
        diagonal = torch.diagonal(inputs.gram)
        self.mean = float(diagonal.mean())
        self.importance = diagonal.clone().numpy()
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
        import numpy as np

        if self.solver["actOrder"]:
            return np.argsort(diagonal.numpy(), kind="stable").astype(np.int64)
        return np.arange(len(diagonal), dtype=np.int64)[::-1].copy()

    def _find_factor(self) -> Optional[Any]:
        """The factor with the least damping that gives one, then of diagonal blocks alone, then none."""
        import torch

        if not (self.mean > 0 and self.mean < float("inf")):
            self.fallback = "its input is zero or not finite on all tokens: rounded to nearest"
            return None
        order = torch.from_numpy(self.order)
        damping = self.solver["damping"]
        while damping <= self.solver["dampingMost"] * 1.001:
            factor = _cholesky(self._damped(order, damping))
            if factor is not None:
                if damping > self.solver["damping"]:
                    self.fallback = f"the Gram matrix needed damping {damping:g}"
                self.damping = damping
                return factor.contiguous().numpy()
            damping *= 10**0.5
        self.damping = self.solver["dampingMost"]
        factor = _cholesky(_block_diagonal(self._damped(order, self.damping), 128))
        how = "rounded to nearest" if factor is None else "solved in diagonal blocks of 128"
        self.fallback = f"the Gram matrix is not positive definite at damping {self.damping:g}: {how}"
        return None if factor is None else factor.contiguous().numpy()

    def _damped(self, order: Any, damping: float) -> Any:
        import torch

        matrix = self.inputs.gram[order][:, order]
        diagonal = torch.diagonal(matrix)
        dead = diagonal == 0
        diagonal.add_(damping * self.mean)
        diagonal[dead] = self.mean
        return matrix


def solve(core: Any, weight: Any, prepared: Prepared, grid: RowGrid) -> Solution:
    """The best solution for a linear. weight: float32 [outputs, inputs], a torch tensor.

    Raises DoptError NATIVE_FAILED.
    """
    import numpy as np

    matrix = np.ascontiguousarray(weight.numpy())
    solver = prepared.solver
    tries: List[Tuple[str, Optional[float]]] = [("nearest", None)]
    if prepared.factor is not None:
        tries.append(("gptq", None))
        if prepared.inputs.cross is not None:
            tries += [("cross", ridge) for ridge in solver["ridges"]]
    judge = Judge(weight, prepared)
    results = []
    for chosen, ridge in tries:
        made = _make(core, matrix, prepared, grid, chosen, ridge)
        if made is not None:
            results.append((judge.error(*made), chosen, ridge, made))
    nearest = results[0][0]
    error, chosen, ridge, (integers, scales) = min(results, key=lambda result: result[0])
    damping = None if chosen == "nearest" else prepared.damping
    return Solution(integers, scales, chosen, ridge, damping, prepared.fallback, error, nearest)


class Judge:
    """Error of a linear's output on tokens that judge: squared, over the power of the output."""

    def __init__(self, weight: Any, prepared: Prepared) -> None:
        held = prepared.held
        self.weight, self.prepared = weight, prepared
        self.x = None if held is None else held[1]
        self.wanted = None if held is None else held[0] @ weight.t()
        self.power = 0.0 if held is None else float((self.wanted.double() ** 2).sum())

    def error(self, integers: Any, scales: Any) -> float:
        import torch

        made = dequantized(integers, scales)
        if self.x is not None and self.power > 0:
            off = self.x @ made.t() - self.wanted
            return float((off.double() ** 2).sum()) / self.power
        # No tokens that judge: the error on those that solve, input errors left out.
        off, gram = (made - self.weight).double(), self.prepared.inputs.gram
        power = float(((self.weight.double() @ gram) * self.weight.double()).sum())
        error = float(((off @ gram) * off).sum()) if power > 0 else float((off**2).sum())
        power = power if power > 0 else float((self.weight.double() ** 2).sum())
        return error / power if power > 0 else float(torch.zeros(()))


def dequantized(integers: Any, scales: Any) -> Any:
    """float32 [outputs, inputs] of numpy integers and scales."""
    import numpy as np
    import torch

    outputs, inputs = integers.shape
    groups = scales.shape[1]
    parts = torch.from_numpy(np.array(integers)).view(outputs, groups, inputs // groups).float()
    return (parts * torch.from_numpy(np.array(scales))[:, :, None]).view(outputs, inputs)


def grid_of(strategy: Dict[str, Any], inputs: int) -> RowGrid:
    """The grid of ``llmStrategySchema``."""
    most = 2 ** (strategy["bits"] - 1) - 1
    return RowGrid(strategy["groupSize"] or inputs, -most - int(strategy["fullRange"]), most)


def _make(
    core: Any, matrix: Any, prepared: Prepared, grid: RowGrid, chosen: str, ridge: Optional[float]
) -> Optional[Tuple[Any, Any]]:
    """(integers, scales) of one try, in parts of the rows; None where it cannot be computed."""
    import numpy as np
    import torch

    transfer = prepared.transfer(ridge) if ridge is not None else None
    if ridge is not None and transfer is None:
        return None
    solver, inputs = prepared.solver, matrix.shape[1]
    importance = prepared.importance if solver["scales"] == "weighted" and prepared.mean > 0 else None
    candidates = 1 if solver["scales"] == "absmax" else CANDIDATES
    gram = prepared.inputs.gram.numpy()
    parts = []
    rows = max(64, TARGET_BYTES // (8 * inputs) // 64 * 64)
    for first in range(0, len(matrix), rows):
        part = np.ascontiguousarray(matrix[first : first + rows])
        target = part.astype(np.float64)
        if transfer is not None:
            target = (torch.from_numpy(target) @ transfer).numpy()
        scales = core.group_scales(target.astype(np.float32), grid, importance, candidates, LEAST)
        if chosen == "nearest":
            parts.append((core.group_nearest(target, grid, scales), scales))
            continue
        integers = core.gram_round(prepared.order, prepared.factor, target, grid, scales)
        if solver["refit"] or solver["sweeps"]:
            core.gram_refine(gram, target, grid, scales, integers, solver["refit"], solver["sweeps"])
        parts.append((integers, scales))
    return tuple(np.concatenate(each) for each in zip(*parts))  # type: ignore[return-value]


def _cholesky(matrix: Any) -> Optional[Any]:
    import torch

    factor, info = torch.linalg.cholesky_ex(matrix)
    return factor if int(info) == 0 and bool(torch.isfinite(torch.diagonal(factor)).all()) else None


def _block_diagonal(matrix: Any, size: int) -> Any:
    import torch

    out = torch.zeros_like(matrix)
    for first in range(0, len(matrix), size):
        part = slice(first, first + size)
        out[part, part] = matrix[part, part]
    return out
