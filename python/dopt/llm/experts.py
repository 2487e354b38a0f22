"""Products with one matrix out of a stack of experts, found while transformers computes them.

The experts of a mixture are one parameter [experts, outputs, inputs]; transformers multiplies with a slice of it through
``torch.nn.functional.linear``. While ``intercepted`` is active, such a product is recognised by the address of the slice.
"""

import contextlib
from typing import Any, Dict, Iterator

from dopt.llm.families import Linear, linears_of
from dopt.llm.linear import Weight, current_seen


class ExpertWeight(Weight):
    """One matrix of a stack."""

    def __init__(self, linear: Linear, stack: Any) -> None:
        super().__init__(linear, stack[linear.expert])

    @property
    def address(self) -> int:
        return int(self._stored.data_ptr())


def expert_weights(block: Any, prefix: str) -> Dict[str, ExpertWeight]:
    """The matrices of all experts of a block that is filled, by name."""
    found = {}
    for linear in linears_of(block, prefix):
        if linear.kind == "expert":
            owner: Any = block
            *path, leaf = linear.parameter[len(prefix) + 1 :].split(".")
            for name in path:
                owner = getattr(owner, name)
            found[linear.name] = ExpertWeight(linear, owner._parameters[leaf].data)
    return found


@contextlib.contextmanager
def intercepted(weights: Dict[str, ExpertWeight]) -> Iterator[None]:
    """Products with these matrices use the weight of the thread, and tell of their inputs."""
    import torch

    if not weights:
        yield
        return
    known = {weight.address: weight for weight in weights.values()}
    plain = torch.nn.functional.linear

    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        expert = known.get(weight.data_ptr()) if weight.dim() == 2 else None
        if expert is None or tuple(weight.shape) != expert.linear.shape:
            return plain(x, weight, bias)
        seen = current_seen()
        if seen is not None and x.numel():
            seen.add(expert.linear.name, x)
        return plain(x, expert.current(), bias)

    torch.nn.functional.linear = linear
    try:
        yield
    finally:
        torch.nn.functional.linear = plain
