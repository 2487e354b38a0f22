"""Who solves weights in groups: the native core on the processor, or PyTorch where the model's tensors are.

Both have the methods of ``dopt.native_rows.RowCalls`` over torch tensors: weights and scales float32, targets, factors and Gram
matrices float64, integers int8. ``DeviceRows`` computes the same formulas (native/include/dopt.h names the papers) for all rows
at a time; its sums run in another order, so that single integers may differ from the core's.
"""

from typing import Any, Optional

from dopt.native_numpy_rows import COARSE, FITS, RIDGE, in_turns, share_of
from dopt.native_rows import RowGrid

#: Columns that are solved before what they changed is brought to all others, by one product.
BLOCK = 128
#: Bytes of float64 that stages of a search over clips hold at a time.
PART_BYTES = 256 << 20


def half_scale(scales: Any) -> Any:
    """float32 with 11 significant bits, rounded half to even; see ``dopt.native_numpy_rows``."""
    import torch

    bits = scales.contiguous().view(torch.int32)
    rounded = ((bits + 0xFFF + ((bits >> 13) & 1)) & -0x2000).view(torch.float32)
    return torch.where((scales >= 1e-30) & (scales < 1e30), rounded, scales)


class HostRows:
    """The native core (or numpy) on tensors of the processor."""

    #: Bytes of float64 targets that are solved at a time.
    target_bytes = 12 << 20

    def __init__(self, core: Any) -> None:
        self._core = core

    def group_scales(self, weights: Any, grid: RowGrid, importance: Optional[Any], candidates: int, least: float) -> Any:
        import torch

        power = None if importance is None else importance.numpy()
        return torch.from_numpy(self._core.group_scales(weights.numpy(), grid, power, candidates, least))

    def group_nearest(self, values: Any, grid: RowGrid, scales: Any) -> Any:
        import torch

        return torch.from_numpy(self._core.group_nearest(values.numpy(), grid, scales.numpy()))

    def gram_round(
        self, order: Any, factor: Any, target: Any, grid: RowGrid, scales: Any, run_factors: Optional[Any] = None
    ) -> Any:
        import torch

        given = (order.numpy(), factor.numpy(), target.numpy())
        runs = None if run_factors is None else run_factors.numpy()
        return torch.from_numpy(self._core.gram_round(*given, grid, scales.numpy(), runs))

    def gram_refine(
        self, gram: Any, target: Any, grid: RowGrid, scales: Any, integers: Any, refit: bool, sweeps: int
    ) -> None:
        self._core.gram_refine(gram.numpy(), target.numpy(), grid, scales.numpy(), integers.numpy(), refit, sweeps)


class DeviceRows:
    """PyTorch, on the device of the tensors. The inputs are a multiple of the group.

    Rows that are rounded together go to ``host``: each of their weights waits for the one before, which are as many steps as
    the layer has inputs times the rows of a run, and single numbers in each.
    """

    target_bytes = 1 << 30

    def __init__(self, host: HostRows) -> None:
        self._host = host

    def group_scales(self, weights: Any, grid: RowGrid, importance: Optional[Any], candidates: int, least: float) -> Any:
        """float32 [outputs, groups] for weights [outputs, inputs]: the clip of least (weighted) squared error."""
        import torch

        outputs, inputs = weights.shape
        groups = inputs // grid.group
        power = torch.ones(inputs, dtype=torch.float64, device=weights.device) if importance is None else importance
        rows = max(1, PART_BYTES // (8 * inputs))
        parts = [
            _best_clip(part.view(-1, groups, grid.group).double(), power.view(groups, grid.group), grid, candidates, least)
            for part in weights.contiguous().split(rows)
        ]
        return torch.cat(parts)

    def group_nearest(self, values: Any, grid: RowGrid, scales: Any) -> Any:
        """int8 [outputs, inputs] nearest to float64 values."""
        import torch

        return (values / spread(scales, grid)).round_().clamp_(grid.qmin, grid.qmax).to(torch.int8)

    def gram_round(
        self, order: Any, factor: Any, target: Any, grid: RowGrid, scales: Any, run_factors: Optional[Any] = None
    ) -> Any:
        """int8 [outputs, inputs] by error feedback; order int64 [inputs], factor in that order: its lower triangle is read."""
        import torch

        if run_factors is not None:
            given = (each.cpu().contiguous() for each in (order, factor, target))
            return self._host.gram_round(*given, grid, scales.cpu(), run_factors.cpu()).to(target.device)
        wanted, steps = target[:, order], spread(scales, grid)[:, order]
        inputs = wanted.shape[1]
        pivots = torch.diagonal(factor)
        rounded = torch.empty_like(wanted)
        for first in reversed(range(0, inputs, BLOCK)):
            last = min(first + BLOCK, inputs)
            errors = torch.zeros_like(wanted[:, first:last])
            lower = factor[first:last, :last] / pivots[:last]  # column k over its diagonal: what it owes for the errors behind it
            for k in reversed(range(first, last)):
                behind = slice(k + 1 - first, last - first)
                aim = wanted[:, k] + errors[:, behind] @ lower[behind, k]
                q = (aim / steps[:, k]).round_().clamp_(grid.qmin, grid.qmax)
                rounded[:, k] = q
                # ``wanted`` holds what the blocks behind owe already: the error is that of the weight as it was.
                errors[:, k - first] = target[:, order[k]] - q * steps[:, k]
            wanted[:, :first].addmm_(errors, lower[:, :first])
        out = torch.empty(target.shape, dtype=torch.int8, device=target.device)
        out[:, order] = rounded.to(torch.int8)
        return out

    def gram_refine(
        self, gram: Any, target: Any, grid: RowGrid, scales: Any, integers: Any, refit: bool, sweeps: int
    ) -> None:
        """Lowers the squared error on ``gram`` in place: scales by least squares, integers by coordinate descent."""
        in_turns(_sweep, _fit, refit, sweeps)(gram, target, grid, scales, integers)


def spread(scales: Any, grid: RowGrid) -> Any:
    """float64 [outputs, inputs]: the scale of each weight."""
    return scales.double().repeat_interleave(grid.group, dim=1)


def _best_clip(w: Any, power: Any, grid: RowGrid, candidates: int, least: float) -> Any:
    """float32 [outputs, groups] for w float64 [outputs, groups, group], power float64 [groups, group]."""
    import torch

    def tried(scale: Any) -> Any:
        q = (w * (1.0 / scale)[:, :, None]).round_().clamp_(grid.qmin, grid.qmax)
        weighed = power * q
        dot, square = (weighed * w).sum(dim=2), (weighed * q).sum(dim=2)
        error = (power * (w - q * scale[:, :, None]) ** 2).sum(dim=2)
        return error, torch.where((square > 0) & (dot > 0), dot / square, scale)

    whole = torch.maximum(w.amax(dim=2).clamp(min=0) / grid.qmax, w.amin(dim=2).clamp(max=0) / grid.qmin)
    empty = ~(whole > 0)
    whole = torch.where(empty, torch.ones_like(whole), whole)
    best = half_scale(whole.float()).double()
    error, fitted = tried(best)

    def take(scale: Any, number: Any, allowed: Any) -> Any:
        """Where a scale is better than the best so far; it is the best then."""
        nonlocal best, error, fitted, at
        scale = half_scale(scale.float()).double()
        other, refit = tried(torch.where(scale > 0, scale, torch.ones_like(scale)))
        better = (other < error) & (scale > 0) & allowed
        best, error, fitted = (torch.where(better, new, old) for new, old in ((scale, best), (other, error), (refit, fitted)))
        at = torch.where(better, number, at)
        return better

    last = candidates - 1
    at, going = torch.full_like(whole, last), torch.ones_like(empty)
    for number in range(0, last, COARSE):
        take(whole * share_of(number, candidates, least), torch.full_like(whole, number), going)
    near = at
    for number in (near + offset for offset in (range(1 - COARSE, COARSE) if last else ())):
        take(whole * share_of(number, candidates, least), number, (number >= 0) & (number < last))
    for _ in range(FITS if candidates > 1 else 0):
        going = take(fitted, at, going)
    return torch.where(empty, torch.ones_like(best), best).float()


def _fit(gram: Any, target: Any, grid: RowGrid, scales: Any, integers: Any) -> None:
    import torch

    outputs, inputs = target.shape
    groups = inputs // grid.group
    q = integers.double()
    wanted = ((target @ gram) * q).view(outputs, groups, grid.group).sum(dim=2)
    form = torch.empty(outputs, groups, groups, dtype=torch.float64, device=gram.device)
    for g in range(groups):
        part = slice(g * grid.group, (g + 1) * grid.group)
        form[:, g] = ((q[:, part] @ gram[part]) * q).view(outputs, groups, grid.group).sum(dim=2)
    ridge = RIDGE * form.diagonal(dim1=1, dim2=2).sum(dim=1) / groups
    sound = (ridge > 0) & torch.isfinite(ridge)
    ridge = torch.where(sound, ridge, torch.ones_like(ridge))
    before = scales.double()
    ridged = torch.where(sound[:, None, None], form, torch.zeros_like(form))
    ridged.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
    fitted = torch.linalg.solve(ridged, (wanted + ridge[:, None] * before)[:, :, None])[:, :, 0]
    fitted = half_scale(fitted.float()).double()
    after = torch.where((fitted > 0.5 * before) & (fitted < 2.0 * before), fitted, before)

    def error(x: Any) -> Any:
        return (x * ((form @ x[:, :, None])[:, :, 0] - 2 * wanted)).sum(dim=1)

    better = sound & (error(after) < error(before))
    scales.copy_(torch.where(better[:, None], after, before))


def _sweep(gram: Any, target: Any, grid: RowGrid, scales: Any, integers: Any) -> None:
    import torch

    steps, q = spread(scales, grid), integers.double()
    slopes = (target - q * steps) @ gram
    diagonal = torch.diagonal(gram)
    lives = (diagonal > 0).tolist()
    for first in range(0, len(gram), BLOCK):
        last = min(first + BLOCK, len(gram))
        inner, moved = gram[first:last, first:last], torch.zeros_like(q[:, first:last])
        for k in range(first, last):
            if not lives[k]:
                continue
            slope = slopes[:, k] - moved[:, : k - first] @ inner[: k - first, k - first]
            better = (q[:, k] + slope / (diagonal[k] * steps[:, k])).round_().clamp_(grid.qmin, grid.qmax)
            moved[:, k - first] = (better - q[:, k]) * steps[:, k]
            q[:, k] = better
        slopes.sub_(moved @ gram[first:last])
    integers.copy_(q.to(integers.dtype))
