"""One decoder block: its sums gathered, its linears solved in order, its hidden states handed on."""

import contextlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from dopt.llm.attention import can_fuse, fused
from dopt.llm.experts import ExpertWeight, expert_weights, intercepted
from dopt.llm.families import Linear, linears_of
from dopt.llm.fisher import information
from dopt.llm.gram import Batch, Inputs
from dopt.llm.heads import heads_of
from dopt.llm.linear import FLOAT, Seen, Stop, Weight, is_quantized, outputs_told, use
from dopt.llm.memory import make_room
from dopt.llm.passes import Lockstep, Repeated, without_attention_weights
from dopt.llm.residual import Trace, followed
from dopt.llm.solve import Prepared, Solution, grid_of, solve, squares
from dopt.llm.steps import Step, steps_of
from dopt.llm.stream import Stream, ordered_map
from dopt.llm.taps import tapped

#: Bytes of sums that may be gathered in one pass, where a step has many inputs (experts).
SUM_BYTES = 1 << 30
#: Batches that errors before a linear are learned from, at least: of all, where there are no more, and of all in models of so many
#: weights. There passes take less of the time, and half of the batches cost SmolLM2 half as much divergence again, whether
#: that was 2,048 tokens or 4,096; models of 0.3 to 11 million weights lose 2 to 11 % (docs/decisions/011).
LEAST_CROSSING, LARGE = 4, 60_000_000


class States(NamedTuple):
    """Hidden states of every batch, [batch, length, width] float32, in the float and in the quantized model.

    None where nobody needs the float model's (``needs_float``).
    """

    float: List[Optional[Any]]
    quantized: List[Any]


class Work:
    """A block that is loaded, with what is asked for its linears."""

    def __init__(self, stream: Stream, index: int, options: Dict[str, Any]) -> None:
        self.stream, self.index, self.options = stream, index, options
        self.prefix = stream.prefix(index)
        #: Whether what passes is what the quantized model will compute.
        self.observing = False
        #: Whether every linear had an input when the order was found.
        self.all_met = True
        #: Linears that add to the residual stream.
        self.writers: Set[str] = set()
        #: What errors of the outputs of linears cost that attention's weights come from.
        self.information: Dict[str, Any] = {}
        self.weights: Dict[str, Weight] = {}
        self._step: List[str] = []
        self.experts: Dict[str, ExpertWeight] = {}
        self.linears: Dict[str, Linear] = {
            each.name: each
            for each in linears_of(stream.block(index), self.prefix)
            if each.name in options["strategies"]
        }

    @property
    def sum_bytes(self) -> int:
        """Size of the sums over the widest input."""
        return max((8 * each.shape[1] ** 2 for each in self.linears.values()), default=0)

    def steps(self, hidden: Any) -> List[Step]:
        """The order in which the linears are solved, found by running the first block of each kind."""
        own = len(self.prefix)
        kind = tuple((name[own:], each.shape) for name, each in self.linears.items())
        known = self.options["orders"]
        if kind not in known:
            trace = Trace()
            with outputs_told(self.stream.block(self.index), trace.put):
                trace.pass_on(self.forward(hidden, FLOAT, trace))
            found = steps_of(trace, self.linears, self.options["solver"]["sequential"])
            steps = [[[name[own:] for name in group] for group in step] for step in found]
            writers = {name[own:] for name in trace.writers}
            known[kind] = (steps, writers, set(trace.order) >= set(self.linears))
        steps, writers, self.all_met = known[kind]
        self.writers = {self.prefix + name for name in writers}
        return [[[self.prefix + name for name in group] for group in step] for step in steps]

    def load(self) -> None:
        """Reads the block's weights."""
        self.weights = self.stream.load(self.index)
        self.experts = expert_weights(self.stream.block(self.index), self.prefix)
        self.weights.update(self.experts)

    def inform(self, states: States) -> None:
        """Finds what errors of queries and keys cost, where their rows are rounded together."""
        solver = self.options["solver"]
        if solver["heads"] and solver["rounding"] == "gptq":
            self.information = information(self.stream, self.index, states.float, self.index)

    def leave_step(self) -> None:
        """Frees what the linears of the last step multiply with: where every pass runs once, all are behind it."""
        for name in self._step:
            self.weights[name].keep(False)
            if self.observing and not self.options["solver"]["polish"]:
                self.weights[name].let_go()
        self._step = []

    def finish_step(self, names: List[str], solutions: Dict[str, Solution]) -> None:
        """Gives the linears of a step their integers. Where every pass runs once, what they multiply with is kept until the next."""
        self.leave_step()
        for name in names:
            self.weights[name].set_quantized(solutions[name].integers, solutions[name].scales)
            self.weights[name].keep(self.observing)
        self._step = names

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While products of experts are recognised, and ranges of the quantized model observed."""
        ranges = self.options["ranges"]

        def tap(name: str, x: Any) -> Any:
            return ranges.tap(name, x) if self.observing and is_quantized() else x

        block = self.stream.block(self.index)
        with intercepted(self.experts), without_attention_weights(block), followed(block), contextlib.ExitStack() as stack:
            if ranges is not None:
                stack.enter_context(tapped(block, self.prefix, tap))
            if can_fuse(self.stream.source.network, block):
                stack.enter_context(fused(block, self._unseen))
            yield

    def _unseen(self) -> bool:
        """Whether nobody looks into attention on this thread: neither ranges nor gradients are wanted."""
        import torch

        return not torch.is_grad_enabled() and (self.options["ranges"] is None or not is_quantized())

    def mapped(self, function: Callable[[Any], Any], items: List[Any]) -> Iterator[Any]:
        """``map`` on the run's threads."""
        return ordered_map(function, items, self.options["threads"])

    def forward(self, hidden: Any, mode: str, seen: Optional[Seen] = None) -> Any:
        """The block's output; None where ``seen`` stopped it."""
        import torch

        if seen is not None:
            seen.pass_on(hidden)
        with torch.no_grad(), use(mode, seen):
            try:
                return self.stream.run(self.index, hidden)
            except Stop:
                return None


def solve_block(rows: Any, work: Work, states: States) -> Tuple[Dict[str, Solution], States]:
    """Solves every linear that was asked for, and the hidden states behind the block with the integers found."""
    steps = work.steps(states.quantized[0])
    work.inform(states)
    solutions: Dict[str, Solution] = {}
    passes = _passes(work, states, steps)
    try:
        for step in steps:
            for part in _parts(step, work):
                gathered = _gather(work, passes, part, len(states.float))
                _blend(gathered, part, work)
                for group in part:
                    _solve_group(rows, work, group, gathered.pop(0), solutions)
            work.finish_step([name for group in step for name in group], solutions)
        work.observing = True
        done = States(*passes.finish())
        work.finish_step([], {})
        return solutions, done
    finally:
        passes.close()


def relative_error(states: States) -> float:
    """Mean squared difference of the two models' hidden states over the float one's mean square."""
    noise = sum(squares(x - z) for z, x in zip(states.float, states.quantized) if z is not None)
    signal = sum(squares(z) for z in states.float if z is not None)
    return noise / signal if signal > 0 else 0.0


def judges(index: int, held_back: int, batches: int) -> bool:
    """Whether a batch judges solutions instead of making them."""
    return held_back > 1 and batches > 1 and index % held_back == min(held_back, batches) - 1


def crossing(solver: Dict[str, Any], batches: int, weights: int) -> Dict[str, Any]:
    """A solver whose ``crossEvery`` leaves enough of the batches to learn from in a model of so many weights."""
    every = 1 if weights >= LARGE else min(solver["crossEvery"], batches // LEAST_CROSSING)
    return {**solver, "crossEvery": max(1, every)}


def makes_up(solver: Dict[str, Any]) -> bool:
    """Whether weights make up for errors before them."""
    return bool(solver["ridges"]) and solver["rounding"] == "gptq"


def crosses(solver: Dict[str, Any], index: int) -> bool:
    """Whether errors before a linear are learned from a batch that solves."""
    return makes_up(solver) and index % solver["crossEvery"] == 0


def needs_float(solver: Dict[str, Any], index: int, batches: int) -> bool:
    """Whether the float model runs on a batch: where it judges or errors before a linear are learned from it, on all to train scales."""
    judging = [judges(each, solver["heldBack"], batches) for each in range(batches)]
    return bool(solver["polish"]) or judging[index] or crosses(solver, index) or not any(judging)


def _parts(step: Step, work: Work) -> List[Step]:
    """A step in parts whose sums fit into memory."""
    parts: List[Step] = []
    size = 0
    for group in step:
        inputs = work.linears[group[0]].shape[1]
        needed = 8 * inputs * inputs
        if not parts or size + needed > SUM_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(group)
        size += needed
    return parts


def _passes(work: Work, states: States, steps: List[Step]) -> Any:
    sure = work.all_met and not any(work.linears[name].is_expert for step in steps for group in step for name in group)
    # A pass that waits has multiplied with what came before the wait: without an order inside of the block with float weights.
    if not (sure and work.options["lockstep"] and work.options["solver"]["sequential"]):
        return Repeated(work.forward, states, work.mapped, stop=sure)
    work.observing = True  # each pass runs once, and every linear in it is solved before it multiplies
    return Lockstep(work.forward, states, work.mapped)


def _gather(work: Work, passes: Any, step: Step, batches: int) -> List[Inputs]:
    """Sums for each group of a step, over all batches."""
    solver = work.options["solver"]
    firsts = [group[0] for group in step]
    judging = sum(judges(index, solver["heldBack"], batches) for index in range(batches))
    # Where passes wait, all have come to the step before its sums take memory, and what they ran through is free.
    given = passes.inputs(firsts)
    if passes.waits:
        work.leave_step()
    make_room(work.sum_bytes)  # what passes freed lies in small pieces
    gathered = [_inputs_of(work, group) for group in step]
    waits: List[List[Batch]] = [[] for _ in step]
    for index, pair in enumerate(given):
        for group, inputs, waiting in zip(step, gathered, waits):
            batch = _batch_of(work, group, *pair)
            if batch is None:
                continue
            if judges(index, solver["heldBack"], batches):
                batch = inputs.hold(batch, judging)
            if passes.waits:
                waiting.append(batch)
            else:
                inputs.add(batch)
        work.options["events"].check_cancelled()
    for inputs, waiting in zip(gathered, waits):
        if waiting:
            inputs.add_all(waiting, work.mapped)
    return gathered


def _batch_of(work: Work, group: List[str], plain: Seen, rounded: Seen) -> Optional[Batch]:
    """What the two models gave linears that share an input; None where no token came to them."""
    name = group[0]
    x, z = rounded.inputs.get(name), plain.inputs.get(name)
    if x is None:
        return None
    if work.linears[name].is_expert:  # the two models may send tokens to different experts: there is no counterpart then
        return Batch(x, x)
    streams = (plain.residuals[name], rounded.residuals[name]) if z is not None and _fills(work, group) else None
    return Batch(z, x, streams)


def _fills(work: Work, group: List[str]) -> bool:
    """Whether a linear makes up for what the residual stream lacks as well: it adds to it, and alone has its input."""
    return makes_up(work.options["solver"]) and len(group) == 1 and group[0] in work.writers


def _inputs_of(work: Work, group: List[str]) -> Inputs:
    """Empty sums for linears that share an input. Errors before experts are not known: their tokens may differ."""
    cross = makes_up(work.options["solver"]) and not work.linears[group[0]].is_expert
    inputs = work.linears[group[0]].shape[1]
    whole = sum(work.linears[name].shape[0] for name in group) > inputs and not _fills(work, group)
    return Inputs(inputs, cross, work.stream.source.device, None if whole else [work.weights[name] for name in group])


def _blend(gathered: List[Inputs], step: Step, work: Work) -> None:
    """Experts that saw few tokens take from the sums of all of them."""
    for pattern in {work.linears[group[0]].pattern for group in step}:
        same = [inputs for group, inputs in zip(step, gathered) if work.linears[group[0]].pattern == pattern]
        if len(same) < 2:
            continue
        total = Inputs(same[0].gram.shape[0], False, same[0].gram.device)
        for inputs in same:
            total.gram += inputs.gram
            total.tokens += inputs.tokens
        for inputs in same:
            inputs.blend(total)


def _solve_group(rows: Any, work: Work, group: List[str], inputs: Inputs, solutions: Dict[str, Solution]) -> None:
    prepared = Prepared(inputs, work.options["solver"])
    grids = [grid_of(work.options["strategies"][name], work.linears[name].shape[1]) for name in group]
    heads = [heads_of(work.information.pop(name, None)) for name in group]
    for name, found in zip(group, solve(rows, [work.weights[name] for name in group], prepared, grids, heads)):
        if inputs.tokens == 0:
            found = found._replace(fallback="no token reached it in the calibration text")
        solutions[name] = found
        work.options["tokens"][name] = inputs.tokens
    work.options["events"].check_cancelled()
