"""Forward passes of a block over all batches, in both models, that stop where inputs of linears are wanted.

``Lockstep`` runs every pass once: each is a thread that waits at the inputs of a step until the step is solved and then goes
on with the integers found. What a waiting pass holds (the attention weights above all) stays in memory, so for long samples
``Repeated`` runs the passes anew for every step instead; it also serves mixtures of experts, whose inputs may not come.
"""

import contextlib
import threading
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from dopt.llm.linear import FLOAT, QUANTIZED, Seen, Stop

#: What one batch gave linears: in the float model and in the quantized one.
Pair = Tuple[Seen, Seen]
#: forward(hidden, mode, seen) -> hidden behind the block, None where ``seen`` stopped it.
Forward = Callable[[Any, str, Optional[Seen]], Any]


@contextlib.contextmanager
def without_attention_weights(block: Any) -> Iterator[None]:
    """While modules of attention, which return their weights [batch, heads, length, length] beside the result, return None in
    their place, as faster implementations do: nobody asked for them, and a block holds them to its end."""

    def let_go(_module: Any, _given: Any, out: Any) -> Any:
        if isinstance(out, tuple) and len(out) > 1 and getattr(out[1], "ndim", 0) == 4 and out[1].shape[2] == out[0].shape[1]:
            return (out[0], None, *out[2:])
        return None

    names = ((type(module).__name__.lower(), module) for module in block.modules())
    handles = [module.register_forward_hook(let_go) for name, module in names if "attention" in name or "attn" in name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Repeated:
    """Runs the block from its beginning for every step."""

    #: Whether passes hold their inputs until they go on.
    waits = False

    def __init__(self, forward: Forward, states: Any, mapped: Callable[[Any, List[Any]], Iterator[Any]], stop: bool) -> None:
        self._forward, self._states, self._mapped, self._stop = forward, states, mapped, stop

    def inputs(self, names: List[str]) -> Iterator[Pair]:
        """Inputs of linears of one step, batch by batch."""

        def one(pair: Any) -> Pair:
            both = []
            for mode, hidden in zip((FLOAT, QUANTIZED), pair):
                seen = Seen(names, stop=self._stop)
                if hidden is not None:
                    self._forward(hidden, mode, seen)
                both.append(seen)
            return both[0], both[1]

        return self._mapped(one, list(zip(self._states.float, self._states.quantized)))

    def finish(self) -> Tuple[List[Any], List[Any]]:
        """Hidden states behind the block, of both models."""
        done = [
            list(self._mapped(lambda hidden, mode=mode: None if hidden is None else self._forward(hidden, mode, None), given))
            for mode, given in ((FLOAT, self._states.float), (QUANTIZED, self._states.quantized))
        ]
        return done[0], done[1]

    def close(self) -> None:
        """Nothing waits."""


class Lockstep:
    """Runs the block once; passes wait at every step."""

    waits = True

    def __init__(self, forward: Forward, states: Any, mapped: Callable[[Any, List[Any]], Iterator[Any]]) -> None:
        self._mapped = mapped
        self._passes = [
            (_Nothing() if z is None else _Pass(forward, z, FLOAT), _Pass(forward, x, QUANTIZED))
            for z, x in zip(states.float, states.quantized)
        ]

    def inputs(self, names: List[str]) -> List[Pair]:
        """Inputs of linears of one step, batch by batch: all passes have come to it. The names must come in every pass, behind
        those of before."""
        return list(self._mapped(lambda pair: (pair[0].until(names), pair[1].until(names)), self._passes))

    def finish(self) -> Tuple[List[Any], List[Any]]:
        """Hidden states behind the block, of both models."""
        done = list(self._mapped(lambda pair: (pair[0].end(), pair[1].end()), self._passes))
        return [z for z, _ in done], [x for _, x in done]

    def close(self) -> None:
        """Ends passes that still wait."""
        for pair in self._passes:
            for each in pair:
                each.abandon()
        self._passes = []


class _Nothing:
    """In the place of a pass that nobody needs."""

    def until(self, _names: List[str]) -> Seen:
        return Seen()

    def end(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class _Pass(Seen):
    """One forward pass on a thread of its own, which runs only while its owner waits for it."""

    def __init__(self, forward: Forward, hidden: Any, mode: str) -> None:
        super().__init__([], stop=False)
        self._resume, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._error: Optional[BaseException] = None
        self._result: Any = None
        self._abandoned = self._ended = False
        self._work: Optional[Callable[[], Any]] = lambda: forward(hidden, mode, self)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, name: str, x: Any) -> None:
        if name not in self.wanted:
            return
        self.keep(name, x)
        if len(self.inputs) == len(self.wanted):
            self._paused.release()
            self._resume.acquire()
            if self._abandoned:
                raise Stop()

    def until(self, names: List[str]) -> Seen:
        """Runs on until all of these linears have their input."""
        self.wanted, self.inputs, self.residuals = set(names), {}, {}
        self._go()
        if len(self.inputs) < len(names):
            raise RuntimeError(f"the block ended before {sorted(set(names) - set(self.inputs))} had an input")
        return self

    def end(self) -> Any:
        """Runs to the end and returns the result."""
        self.wanted, self.inputs, self.residuals = set(), {}, {}
        self._go()
        return self._result

    def abandon(self) -> None:
        """Ends the pass wherever it is."""
        self._abandoned = True
        if not self._ended:
            self._resume.release()
            self._thread.join()
        self.inputs, self.residuals, self.residual, self._result = {}, {}, None, None

    def _go(self) -> None:
        self._resume.release()
        self._paused.acquire()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        self._resume.acquire()
        try:
            if self._work is not None and not self._abandoned:
                self._result = self._work()
        except BaseException as error:  # pylint: disable=broad-except
            self._error = error
        finally:
            self._ended = True
            self._work = None  # which holds the block and, by this pass, itself
            self._paused.release()
