"""Products with one matrix out of a stack of experts, found while transformers computes them.

The experts of a mixture are one parameter [experts, outputs, inputs], of which transformers multiplies with a slice through
``torch.nn.functional.linear``, or [experts, inputs, outputs] (GPT-OSS) and it writes ``x @ slice``. While ``intercepted`` is active,
such a product is recognised by the address of the slice.
"""

import contextlib
from typing import Any, Dict, Iterator, Optional

from dopt.llm.families import Linear, linears_of
from dopt.llm.linear import Weight, current_seen
from dopt.llm.product import multiply


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
    plain, plain_product = torch.nn.functional.linear, torch.Tensor.__matmul__

    def found(x: Any, weight: Any, turned: bool) -> Optional[Any]:
        """The matrix [outputs, inputs] to multiply x with instead; None where the weight is none of an expert's."""
        expert = known.get(weight.data_ptr()) if isinstance(weight, torch.Tensor) and weight.dim() == 2 else None
        if expert is None or expert.linear.turned != turned or tuple(weight.shape[:: -1 if turned else 1]) != expert.linear.shape:
            return None
        seen = current_seen()
        if seen is not None and x.numel():
            seen.add(expert.linear.name, x)
        return expert.current()

    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        other = found(x, weight, turned=False)
        return plain(x, weight, bias) if other is None else multiply(x, other, bias, plain)

    def product(x: Any, weight: Any) -> Any:
        other = found(x, weight, turned=True)
        return plain_product(x, weight) if other is None else multiply(x, other, None, plain)

    torch.nn.functional.linear, torch.Tensor.__matmul__ = linear, product
    try:
        yield
    finally:
        torch.nn.functional.linear, torch.Tensor.__matmul__ = plain, plain_product
