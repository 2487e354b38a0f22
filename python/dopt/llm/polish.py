"""Scales of a block trained by gradients until its output comes closer to the float block's; integers stay.

What each linear was solved for alone is here judged together: the output of the whole block, with the inputs that the
quantized model feeds it. EfficientQAT (arXiv:2407.11062, section 3.2) trains blocks in the same way, there with the rounding.
"""

import math
from typing import Any, Dict, List, Tuple

from dopt.llm.block import States, Work, judges
from dopt.llm.linear import QUANTIZED, Weight, use
from dopt.llm.solve import Solution
from dopt.llm.stream import ordered_map
from dopt.llm.rows import half_scale

#: First step of Adam, as a share of a scale; falls to zero along a cosine.
RATE = 2e-3


def polished(
    work: Work, given: States, done: States, solutions: Dict[str, Solution]
) -> Tuple[Dict[str, Solution], States]:
    """A solved block with trained scales: solutions and hidden states behind it, ranges observed anew.

    ``given`` and ``done``: hidden states before and behind the block; the block must be running.
    """
    work.observing = False
    found = polish(work, given, done.float, solutions)
    if found is not solutions:
        if work.options["ranges"] is not None:
            work.options["ranges"].clear()
        work.observing = True

        def again(hidden: Any) -> Any:
            return work.forward(hidden, QUANTIZED)

        done = States(done.float, list(ordered_map(again, given.quantized, work.options["threads"])))
    return found, done


def polish(work: Work, given: States, wanted: List[Any], solutions: Dict[str, Solution]) -> Dict[str, Solution]:
    """Other scales for a block's linears; the given ones where they are no better on the samples that judge.

    ``given``: hidden states before the block; ``wanted``: those of the float model behind it. Experts keep their scales.
    The weights of ``work`` hold what is returned.
    """
    import torch

    trained = {n: work.weights[n] for n in solutions if not work.linears[n].is_expert}
    base: Dict[str, Any] = {name: weight.scales for name, weight in trained.items()}
    factors = {name: torch.ones_like(scales, requires_grad=True) for name, scales in base.items()}
    solver, count = work.options["solver"], len(given.quantized)
    judging = [index for index in range(count) if judges(index, solver["heldBack"], count)]
    making = [index for index in range(count) if index not in judging]
    optimizer = torch.optim.Adam(list(factors.values()), lr=RATE)
    best, kept = _error(work, given, wanted, judging or making), base
    steps, stride = solver["polish"] * len(making), _stride(len(making))
    for step in range(steps):
        index = making[step * stride % len(making)]
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        _put(trained, {name: base[name] * factors[name] for name in trained})
        optimizer.zero_grad()
        with torch.enable_grad(), use(QUANTIZED):
            out = work.stream.run(work.index, given.quantized[index])
            loss = ((out - wanted[index]) ** 2).sum() / (wanted[index] ** 2).sum()
        loss.backward()
        optimizer.step()
        work.options["events"].check_cancelled()
        if (step + 1) % len(making) == 0:  # few samples teach scales what holds for them alone: the best pass stays
            _put(trained, {n: half_scale((base[n] * factors[n].detach()).clamp(min=0)) for n in trained})
            error = _error(work, given, wanted, judging or making)
            if error < best:
                best, kept = error, {name: trained[name].scales for name in trained}
    _put(trained, kept)
    if kept is base:
        return solutions
    return {n: each._replace(scales=kept[n]) if n in kept else each for n, each in solutions.items()}


def _put(weights: Dict[str, Weight], scales: Dict[str, Any]) -> None:
    for name, weight in weights.items():
        weight.scales = scales[name]


def _error(work: Work, given: States, wanted: List[Any], indices: List[int]) -> float:
    """Squared error of the block's output over its power."""
    noise = power = 0.0
    for index in indices:
        out = work.forward(given.quantized[index], QUANTIZED)
        noise += float(((out - wanted[index]).double() ** 2).sum())
        power += float((wanted[index].double() ** 2).sum())
    return noise / power if power > 0 else 0.0


def _stride(count: int) -> int:
    """A step that visits all of ``count`` in an order other than the given one."""
    return next(each for each in range(max(1, int(count * 0.618)), count + 1) if math.gcd(each, count) == 1)
