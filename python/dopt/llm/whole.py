"""Batches through a whole model, of which one block at a time is in memory."""

from typing import Any, Callable, List, Optional, Set

from dopt.events import Events
from dopt.llm.hadamard import Hadamard
from dopt.llm.simulate import tapped_part
from dopt.llm.stream import Stream, ordered_map
from dopt.llm.taps import Tap

#: Tokens whose logits are observed; they are many numbers each.
LOGIT_TOKENS = 1024


def through_blocks(
    streams: List[Stream], batches: List[Any], taps: List[Optional[Tap]], threads: int, events: Events, turn: Optional[Hadamard] = None
) -> Any:
    """Runs one or two models (float, quantized) block by block over the same batches.

    ``turn``: what the states of the second are turned by (``rotate.py``); None where they are not.
    Returns the error of each block's output over its power, and the hidden states behind the last block of each model.
    """
    hidden: List[List[Any]] = []
    for stream, tap in zip(streams, taps):
        with tapped_part(stream, None, tap):
            hidden.append([stream.begin(batch) for batch in batches])
    errors: List[float] = []
    for index in range(len(streams[0])):
        events.progress(index, len(streams[0]), f"block {index} of {len(streams[0])}")
        for i, stream in enumerate(streams):
            hidden[i] = run_block(stream, index, hidden[i], taps[i], threads)
        if len(streams) > 1:
            noise = sum(float(((x.double() - _turned(z.double(), turn)) ** 2).sum()) for z, x in zip(*hidden))
            errors.append(noise / max(sum(float((z.double() ** 2).sum()) for z in hidden[0]), 1e-300))
    return errors, hidden


def _turned(states: Any, turn: Optional[Hadamard]) -> Any:
    return states if turn is None else turn.rows(states)


def run_block(stream: Stream, index: int, hidden: List[Any], tap: Optional[Tap], threads: int) -> List[Any]:
    """Hidden states behind a block, which is loaded for it."""
    import torch

    stream.load(index)
    with torch.no_grad(), tapped_part(stream, index, tap):
        done = list(ordered_map(lambda each: _run(stream, index, each), hidden, threads))
    stream.drop(index)
    return done


def _run(stream: Stream, index: int, hidden: Any) -> Any:
    import torch

    with torch.no_grad():
        return stream.run(index, hidden)


def observe_all(source: Any, batches: List[Any], tap: Tap, threads: int, events: Events) -> None:
    """Runs a model over batches of token numbers with every tensor going through ``tap``."""
    stream = Stream(source)
    _, hidden = through_blocks([stream], batches, [tap], threads, events)
    observe_tail(stream, batches, hidden[0], tap)


def observe_tail(stream: Stream, batches: List[Any], hidden: List[Any], tap: Tap) -> None:
    """What lies behind the blocks; logits of the first tokens of every batch alone."""
    share = max(1, LOGIT_TOKENS // max(1, sum(len(batch) for batch in batches)))
    with tapped_part(stream, None, tap):
        for batch, each in zip(batches, hidden):
            stream.end(batch[:, :share], each[:, :share])
            stream.before_head(batch, each)


def observe_outside(stream: Stream, batches: List[Any], hidden: List[Any], tap: Tap, put_head: Callable[[], None]) -> None:
    """What lies before and behind the blocks; ``put_head`` gives the network the head to be observed, when the embedding was: the two
    may be one matrix, and to come to the head the network runs from its beginning."""
    before: Set[str] = set()

    def first(name: str, x: Any) -> Any:
        before.add(name)
        return tap(name, x)

    with tapped_part(stream, None, first):
        for batch in batches:
            stream.begin(batch)
    put_head()
    observe_tail(stream, batches, hidden, lambda name, x: x if name in before else tap(name, x))
