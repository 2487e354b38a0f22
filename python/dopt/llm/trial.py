"""Whether a model is rotated (``rotate.py``): decided by solving one of its blocks in short, as it is and rotated."""

from typing import Any, List, NamedTuple, Optional, Tuple

from dopt.llm.block import States, Work, solve_block
from dopt.llm.linear import FLOAT, QUANTIZED
from dopt.llm.memory import return_freed_memory
from dopt.llm.ranges import Ranges, grids_of, quiet
from dopt.llm.rotate import Rotation, why_not

#: Where in a model the block is that is solved. The first ones tell little of it: a rotation takes 16 and 3 % of their error in
#: SmolLM2, 27 % here, half in the last ones, and of the divergence of the whole model 23 %.
DEPTH = 0.75
#: Tokens that a trial takes, and samples at the least, in as many batches.
TOKENS, LEAST = 1024, 4
#: What of the solver is left out: it serves both models alike, and what makes up for errors hides them.
SHORT = {"ridges": [], "heads": False, "refit": False, "sweeps": 0, "polish": 0, "heldBack": 0}
#: Rotated is what loses no more than this of the other's error: trials differ by some hundredths, and a head needs a matrix of its own then.
GAIN = 0.95
#: Groups below keep an outlier to themselves: rotation has brought little there, and is not tried.
COARSE = 64
#: How much the float states of the two may differ by rounding.
DRIFT = 1e-3


class Look(NamedTuple):
    """What a pass in float over a model found: states of each batch, float32 [batch, length, width], ``first``, before all blocks, and
    ``before`` the block ``index``; those ``behind`` it, solved; whether the residual stream is ``buried`` somewhere."""

    first: List[Any]
    before: List[Any]
    behind: States
    index: int
    buried: bool


def choose_rotation(run: Any, known: Optional[bool]) -> None:
    """Rotates the model of a run (``quantize.Run``) where that was asked for, or where it lowers the error of a block in coarse groups
    or activations need it.

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
    if wish == "auto" and not coarse and run.params["activations"] is None:
        return
    found = _look(run)
    wanted = wish == "always" or found.buried
    if wanted or coarse:
        turned, drift = _turn(run, rotation, found)
        plain, other = _typical_error(found.behind), _typical_error(turned)
        run.events.log("info", f"Error of block {found.index}: {plain:.3e} as it is, {other:.3e} rotated.")
        wanted = wanted or other < GAIN * plain
        if wanted and not drift < DRIFT:
            run.warnings.append(f"Not rotated: the float model changed by {drift:.1e}, more than rounding explains.")
            wanted = False
    run.renew(rotation if wanted else None)


def _look(run: Any) -> Look:
    """A pass over the model as it is: over all of it where activations get grids, of which a few values may take most."""
    options, ranges = run.params["activations"], Ranges()
    hidden = first = _begin(run, None)
    at = int(DEPTH * len(run.stream))
    for index in range(at + 1 if options is None else len(run.stream)):
        if index == at:
            before, (hidden, behind) = hidden, _solve(run, at, hidden)
        else:
            hidden = _pass(run, index, hidden)
        for each in hidden:
            ranges.tap(f"{run.stream.prefix(index)}:output", each)
        run.events.check_cancelled()
    buried = options is not None and bool(quiet(grids_of(ranges.state(), options), options))
    if buried:
        run.events.log("info", "Single values of the residual stream leave too little of the integer grid to all others.")
    return Look(first, before, behind, at, buried)


def _turn(run: Any, rotation: Rotation, found: Look) -> Tuple[States, float]:
    """States behind the same block of the rotated model, and the largest share by which those of the float model differ."""
    first = _begin(run, rotation)
    _, behind = _solve(run, found.index, [rotation.q.rows(each) for each in found.before])
    drifts = [
        float((rotation.q.rows(plain) - turned).norm() / turned.norm())
        for plain, turned in ((found.first[0], first[0]), (found.behind.float[0], behind.float[0]))
    ]
    return behind, max(drifts)


def _begin(run: Any, rotation: Optional[Rotation]) -> List[Any]:
    """Another network without a head, and the states of some samples before its blocks, in batches."""
    run.renew(rotation, head=False)
    run.options["solver"] = {**run.params["solver"], **SHORT}
    count = max(LEAST, TOKENS // run.ids.shape[1])
    ids = run.ids[:: max(1, len(run.ids) // count)][:count]
    size = max(1, min(run.params["batch"], len(ids) // LEAST))
    return [run.stream.begin(batch) for each in run.batches(ids) for batch in each.split(size)]


def _pass(run: Any, index: int, hidden: List[Any]) -> List[Any]:
    """Float states behind a block."""
    work = _load(run, index)
    with work.running():
        behind = _forward(work, hidden, FLOAT)
    run.stream.drop(index)
    return behind


def _solve(run: Any, index: int, hidden: List[Any]) -> Tuple[List[Any], States]:
    """Float states behind a block, and, of the batches that it is not solved from, those of the float and the solved one."""
    work = _load(run, index)
    solving, other = hidden[::2], hidden[1::2] or hidden
    with work.running():
        behind = _forward(work, hidden, FLOAT)
        solve_block(run.place.rows, work, States([None] * len(solving), solving))
        quantized = _forward(work, other, QUANTIZED)
    run.stream.drop(index)
    return behind, States(behind[1::2] or behind, quantized)


def _forward(work: Work, hidden: List[Any], mode: str) -> List[Any]:
    return list(work.mapped(lambda each: work.forward(each, mode), hidden))


def _load(run: Any, index: int) -> Work:
    work = Work(run.stream, index, run.options)
    work.load()
    return_freed_memory(work.sum_bytes)
    return work


def _typical_error(states: States) -> float:
    """Geometric mean over tokens of the squared difference of the two models' hidden states over the float one's square.

    What follows normalizes each token, so each counts alike; of the mean over all, a few tokens make most (the first ones, whose
    states are large): on other samples of the same text the ratio of two trials moves by 15 % with it, by 3 % with this.
    """
    import torch

    logs = []
    for z, x in zip(states.float, states.quantized):
        noise, signal = ((each.double() ** 2).sum(dim=-1).flatten() for each in (z - x, z))  # type: ignore[operator]
        logs.append(torch.log(noise.clamp_min(1e-300) / signal.clamp_min(1e-300)))
    return float(torch.cat(logs).mean().exp())


def _is_coarse(run: Any) -> bool:
    """Whether most of what gets 4 bits or less has scales for many inputs."""
    few = [each for each in run.options["strategies"].values() if each["bits"] <= 4]
    return 2 * sum(each["groupSize"] in (0, None) or each["groupSize"] >= COARSE for each in few) > len(few)
