"""The residual stream inside of a block: what lies in it while a pass runs, and which linears add to it.

A decoder block hands a sum from part to part: the input of a norm as wide as the hidden states is that sum, and so is the
block's output. A linear that adds to it can make up for what earlier layers have done to the sum, not to its own input alone.
"""

import contextlib
from typing import Any, Iterator, Optional, Set, Tuple

from dopt.llm.linear import Seen, current_seen


@contextlib.contextmanager
def followed(block: Any) -> Iterator[None]:
    """While norms as wide as the hidden states tell the ``Seen`` of their thread of the sum that they are given."""

    def tell(_module: Any, given: Tuple[Any, ...]) -> None:
        seen = current_seen()
        if seen is not None and seen.residual is not None and _is_as(given[0], seen.residual):
            seen.pass_on(given[0])

    handles = [each.register_forward_pre_hook(tell) for each in block.modules() if "Norm" in type(each).__name__]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Trace(Seen):
    """Finds the linears whose output, added to the residual stream, is what comes next in it: ``writers``, by name.

    The sum has to be the same to the bit. What a block does to an output first (a norm, a factor, the sum over experts)
    leaves its linear out, as does a sum of more than two.
    """

    def __init__(self) -> None:
        super().__init__(stop=False)
        self.writers: Set[str] = set()
        self._sum: Optional[Tuple[str, Any]] = None

    def pass_on(self, residual: Any) -> None:
        """The next sum."""
        import torch

        if self._sum is not None and torch.equal(self._sum[1], residual.reshape(self._sum[1].shape)):
            self.writers.add(self._sum[0])
        self._sum = None
        super().pass_on(residual)

    def put(self, name: str, out: Any) -> None:
        """What a linear gives."""
        fits = self.residual is not None and _is_as(out, self.residual)
        self._sum = (name, self.residual + out.reshape(self.residual.shape)) if fits else None  # type: ignore[union-attr]


def _is_as(tensor: Any, residual: Any) -> bool:
    """Whether a tensor is as wide and as long; some blocks take tokens of all samples in one row for a while."""
    return bool(tensor.shape[-1] == residual.shape[-1] and tensor.numel() == residual.numel())
