"""Activations rounded to their integers while a model runs."""

import contextlib
from typing import Any, Dict, Iterator, List, Optional

from dopt.errors import DoptError
from dopt.llm.restore import Restored
from dopt.llm.taps import Tap, tapped


class Grids:
    """A tap that rounds each tensor to its grid: real = scale * (integer - zero point), integers saturate."""

    def __init__(self, activations: List[Dict[str, Any]]) -> None:
        self._grids = {each["name"]: each for each in activations}

    def tap(self, name: str, x: Any) -> Any:
        import torch

        grid = self._grids.get(name)
        if grid is None:
            return x
        limit = 2 ** (grid["bits"] - 1)
        low = -limit + 1 if grid["symmetric"] else -limit
        integers = torch.clamp(torch.round(x / grid["scale"]) + grid["zeroPoint"], low, limit - 1)
        return (integers - grid["zeroPoint"]) * grid["scale"]


def tap_of(restored: Restored, wanted: bool) -> Optional[Tap]:
    """What rounds a quantized model's activations. Raises DoptError LLM_NO_RANGES where there are none."""
    if not wanted:
        return None
    if not restored.reader.activations:
        raise DoptError(
            "LLM_NO_RANGES",
            f"{restored.folder} has no ranges of activations.",
            place=restored.folder,
            suggestions=["Quantize with activations, or run the second stage: dopt llm stage2."],
        )
    return Grids(restored.reader.activations).tap


@contextlib.contextmanager
def tapped_part(stream: Any, index: Optional[int], tap: Optional[Tap]) -> Iterator[None]:
    """While the tensors of one block, or of what lies outside of the blocks, go through a tap; None: nothing does."""
    if tap is None:
        yield
    elif index is None:
        with tapped(stream.source.network, "", tap, skip=(f"{stream.blocks.name}.",)):
            yield
    else:
        with tapped(stream.block(index), stream.prefix(index), tap):
            yield


@contextlib.contextmanager
def tapped_network(source: Any, blocks: Any, tap: Optional[Tap]) -> Iterator[None]:
    """The same for a network that is whole in memory."""
    with contextlib.ExitStack() as stack:
        if tap is not None:
            stack.enter_context(tapped(source.network, "", tap, skip=(f"{blocks.name}.",)))
            for index, block in enumerate(blocks.modules):
                stack.enter_context(tapped(block, blocks.prefix(index), tap))
        yield
