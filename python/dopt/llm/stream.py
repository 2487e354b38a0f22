"""A model run block by block: hidden states of all samples wait in memory while one block after the other is there.

What lies before and behind the blocks, and what every block is called with besides the hidden states (masks, positions,
rotations), is the model's own code: its blocks are replaced by shells that write down their arguments, so nothing here
knows a family.
"""

import contextlib
import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from dopt.errors import DoptError
from dopt.llm.families import Blocks, find_blocks
from dopt.llm.linear import Stop, Weight, is_streamed, stream_block
from dopt.llm.load import Source
from dopt.llm.network import empty, parameters_of

_HIDDEN = "hidden_states"
#: Tokens whose logits are computed at a time.
PART = 256


class Call:
    """Arguments of a block with a gap for the hidden states."""

    def __init__(self, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
        self.positional = bool(args)
        self.args = args[1:] if args else args
        self.kwargs = {key: value for key, value in kwargs.items() if key != _HIDDEN}

    def __call__(self, block: Any, hidden: Any) -> Any:
        out = self.whole(block, hidden)
        return out[0] if isinstance(out, tuple) else out

    def whole(self, block: Any, hidden: Any) -> Any:
        """All that the block returns."""
        if self.positional:
            return block(hidden, *self.args, **self.kwargs)
        return block(**{_HIDDEN: hidden}, **self.kwargs)


class Stream:
    """A model whose blocks come and go.

    ``begin(ids)`` gives the hidden states before the first block, ``run(index, hidden)`` those behind a block that
    ``load`` has filled, ``end(ids, hidden)`` the logits. ids: int64 [batch, length], hidden: float32 [batch, length, width].
    """

    def __init__(self, source: Source, head: bool = True) -> None:
        """``head``: whether it is read; ``end`` and ``before_head`` need it, and it is a large part of a small model."""
        self.source = source
        self.blocks: Blocks = find_blocks(source.network, source.config)
        self._own = list(self.blocks.modules)
        self._attributes = [_plain_attributes(own) for own in self._own]
        self._calls: Dict[Tuple[int, int], List[Call]] = {}
        self._tuples: Optional[bool] = None
        self._fill_outside(head)

    def __len__(self) -> int:
        return len(self._own)

    def prefix(self, index: int) -> str:
        """Full name of a block."""
        return self.blocks.prefix(index)

    def block(self, index: int) -> Any:
        """The module of a block."""
        return self._own[index]

    def load(self, index: int) -> Dict[str, Weight]:
        """Fills a block; returns its linears' weights by name."""
        return stream_block(self.source, self._own[index], self.prefix(index))

    def drop(self, index: int) -> None:
        """Frees what ``load`` took."""
        for module in self._own[index].modules():
            if is_streamed(module) and module.held is not None:
                module.held.drop()  # its module lives until Python looks for cycles
                module.held = None
        empty(self._own[index])
        self._own[index] = None

    def begin(self, ids: Any) -> Any:
        """Hidden states before block 0."""
        hidden: List[Any] = []
        self._through(ids, lambda index, given: hidden.append(given) or given if index == 0 else given, logits=False)
        return hidden[0]

    def run(self, index: int, hidden: Any) -> Any:
        """Hidden states behind a block. The batch and length must be those of a ``begin`` before."""
        return self._calls[tuple(hidden.shape[:2])][index](self._own[index], hidden)

    def end(self, ids: Any, hidden: Any) -> Any:
        """Logits [batch, length, vocabulary] of the hidden states behind the last block."""
        import torch

        last = len(self) - 1
        parts = []
        for first in range(0, ids.shape[1], PART):  # what lies behind the blocks works on single tokens
            part = slice(first, first + PART)
            parts.append(self._through(ids[:, part], lambda index, given: hidden[:, part] if index == last else given))
        return torch.cat(parts, dim=1)

    def before_head(self, ids: Any, hidden: Any) -> Any:
        """What the head is given, [batch, length, width], for the hidden states behind the last block."""
        given: List[Any] = []

        def stop(_module: Any, arguments: Any) -> None:
            given.append(arguments[0])
            raise Stop()

        last = len(self) - 1
        handle = self.source.network.get_output_embeddings().register_forward_pre_hook(stop)
        try:
            self._through(ids, lambda index, here: hidden if index == last else here)
        finally:
            handle.remove()
        return given[0]

    def _through(self, ids: Any, step: Callable[[int, Any], Any], logits: bool = True) -> Any:
        import torch

        calls: List[Optional[Call]] = [None] * len(self)
        last = len(self) - 1

        def passing(index: int, args: Any, kwargs: Any) -> Any:
            call = calls[index] = Call(args, kwargs)
            given = args[0] if args else kwargs[_HIDDEN]
            if self._tuples is None:
                self._tuples = self._returns_tuple(call, given)
            hidden = step(index, given)
            if index == last and not logits:
                raise Stop()
            return (hidden,) if self._tuples else hidden

        for index, attributes in enumerate(self._attributes):
            self.blocks.modules[index] = make_shell(attributes, index, passing)
        result = None
        with torch.no_grad(), contextlib.suppress(Stop):
            result = self.source.network(input_ids=ids, use_cache=False).logits
        if None in calls:
            place = f"{self.blocks.name}.{calls.index(None)}"
            raise DoptError("LLM_BLOCKS_SKIPPED", f"The model did not run its block {place}.", kind="external")
        self._calls[tuple(ids.shape)] = calls  # type: ignore[assignment]
        return result

    def _returns_tuple(self, call: Call, hidden: Any) -> bool:
        """Whether blocks return tuples, as all did once; found by running an empty one."""
        import torch

        block = copy.deepcopy(self._own[0])
        for owner, leaf, _ in parameters_of(block, ""):
            shape = owner._parameters[leaf].shape
            nothing = torch.zeros(1, device=hidden.device).expand(shape)  # takes no memory
            owner._parameters[leaf] = torch.nn.Parameter(nothing, requires_grad=False)
        return isinstance(call.whole(block, hidden), tuple)

    def _fill_outside(self, head: bool) -> None:
        """Embeddings, last norm and, where it is wanted, the head get their weights."""
        import torch

        inside = self.blocks.name + "."
        embedding = None
        for path, owner in self.source.network.named_modules():
            for leaf, value in owner._parameters.items():
                name = f"{path}.{leaf}" if path else leaf
                if value is None or name.startswith(inside):
                    continue
                if self.source.shares_head and name == f"{self.source.head_name}.weight" and embedding is not None:
                    owner._parameters[leaf] = embedding
                    continue
                if not head and name == f"{self.source.head_name}.weight":
                    continue
                filled = torch.nn.Parameter(self.source.read(name), requires_grad=False)
                owner._parameters[leaf] = filled
                if name == f"{self.source.embedding_name}.weight":
                    embedding = filled


def make_shell(attributes: Dict[str, Any], index: int, passing: Callable[[int, Any, Any], Any]) -> Any:
    """A module in the place of a block."""
    import torch

    class Shell(torch.nn.Module):
        """Hands its arguments on."""

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return passing(index, args, kwargs)

    shell = Shell()
    for name, value in attributes.items():
        object.__setattr__(shell, name, value)
    return shell


def _plain_attributes(module: Any) -> Dict[str, Any]:
    simple = (str, int, float, bool, type(None))
    return {key: value for key, value in vars(module).items() if not key.startswith("_") and isinstance(value, simple)}


def ordered_map(function: Callable[[Any], Any], items: List[Any], threads: int) -> Iterator[Any]:
    """``map`` on several threads, at most ``threads`` results ahead, so that little waits in memory.

    Every call runs its tensor operations on one thread, so results do not depend on how many there are.
    """
    if threads <= 1 or len(items) <= 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: List[Any] = []
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= threads:
                yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()
