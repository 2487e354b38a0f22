"""Whether a model is rotated (``rotate.py``): decided by solving its first blocks in short, as they are and rotated."""

from typing import Any, Optional, Tuple

from dopt.llm.block import States, Work, solve_block
from dopt.llm.ranges import Ranges, grids_of, quiet
from dopt.llm.rotate import Rotation, why_not

#: Blocks that are solved, at the most; one of so many of the model's; for one of so many samples.
BLOCKS, SHARE, SAMPLES = 2, 8, 4
#: What of the solver is left out: it serves both models alike, and what makes up for errors hides them.
SHORT = {"ridges": [], "heads": False, "refit": False, "sweeps": 0, "polish": 0}
#: Rotated is what loses no more than this of the other's error: trials differ by a tenth, and a head needs a matrix of its own then.
GAIN = 0.9
#: Groups below keep an outlier to themselves: rotation has brought nothing there, and is not tried.
COARSE = 128
#: How much the float states of the two may differ by rounding.
DRIFT = 1e-3


def choose_rotation(run: Any, known: Optional[bool]) -> None:
    """Rotates the model of a run (``quantize.Run``) where that was asked for, or where it lowers the error of its first blocks
    in coarse groups or activations need it.

    The float states of the rotated model must be those of the other, turned. ``known``: what the same run chose when it began.
    """
    wish = run.params["solver"]["rotate"]
    if wish == "never":
        return
    blocks = run.stream.blocks
    reason = why_not(run.source, blocks)
    if reason is not None:
        run.warnings.append(f"Not rotated: {reason}.")
        return
    rotation = Rotation(run.source, blocks, run.params["seed"])
    if known is not None:
        run.renew(rotation if known else None)
        return
    coarse = _is_coarse(run)
    buried = wish == "auto" and not coarse and _residual_is_buried(run)
    if wish == "auto" and not coarse and not buried:
        return
    first, plain = _try(run, None)
    other, turned = _try(run, rotation)
    first = rotation.q.rows(first)
    drift = float((first - other).norm() / first.norm())
    run.events.log("info", f"Error of the first blocks: {plain:.3e} as it is, {turned:.3e} rotated.")
    wanted = wish == "always" or buried or (coarse and (turned < GAIN * plain or _residual_is_buried(run)))
    if wanted and not drift < DRIFT:
        run.warnings.append(f"Not rotated: the float model changed by {drift:.1e}, more than rounding explains.")
    run.renew(rotation if wanted and drift < DRIFT else None)


def _try(run: Any, rotation: Optional[Rotation]) -> Tuple[Any, float]:
    """Solves the first blocks; the float states of a batch behind them, float64, and the error of the quantized ones."""
    run.renew(rotation, head=False)
    run.options["solver"] = {**run.params["solver"], **SHORT}
    states = run.begin(run.batches(run.ids[::SAMPLES]))
    for index in range(max(1, min(BLOCKS, len(run.stream) // SHARE))):
        work = Work(run.stream, index, run.options)
        work.load()
        with work.running():
            _, states = solve_block(run.place.rows, work, states)
        run.stream.drop(index)
    return next(each for each in states.float if each is not None).double(), _typical_error(states)


def _typical_error(states: States) -> float:
    """Geometric mean over tokens of the squared difference of the two models' hidden states over the float one's square.

    What follows normalizes each token, so each counts alike; of the mean over all, a few tokens make most (the first ones, whose
    states are large): on other samples of the same text the ratio of two trials moves by 15 % with it, by 3 % with this.
    """
    import torch

    logs = []
    for z, x in zip(states.float, states.quantized):
        if z is not None:
            noise, signal = ((each.double() ** 2).sum(dim=-1).flatten() for each in (z - x, z))
            logs.append(torch.log(noise.clamp_min(1e-300) / signal.clamp_min(1e-300)))
    return float(torch.cat(logs).mean().exp())


def _is_coarse(run: Any) -> bool:
    """Whether most of what gets 4 bits or less has scales for many inputs."""
    few = [each for each in run.options["strategies"].values() if each["bits"] <= 4]
    return 2 * sum(each["groupSize"] in (0, None) or each["groupSize"] >= COARSE for each in few) > len(few)


def _residual_is_buried(run: Any) -> bool:
    """Whether somewhere between the blocks rounding would take most of a typical token, found on one batch in float."""
    import torch

    options = run.params["activations"]
    if options is None:
        return False
    run.renew(None, head=False)
    ranges = Ranges()
    hidden = run.stream.begin(run.batches(run.ids)[0])
    with torch.no_grad():
        for index in range(len(run.stream)):
            work = Work(run.stream, index, run.options)
            work.load()
            hidden = run.stream.run(index, hidden)
            ranges.tap(f"{work.prefix}:output", hidden)
            run.stream.drop(index)
            run.events.check_cancelled()
    buried = bool(quiet(grids_of(ranges.state(), options), options))
    if buried:
        run.events.log("info", "Single values of the residual stream leave too little of the integer grid to all others.")
    run.renew(None)
    return buried
