"""Sums over the tokens of a linear's input: what its integers are solved from.

x is the input that the quantized model feeds a linear, z the input in the float model: x for all tokens, z for those of some
batches (``crosses`` of block.py). Products of a batch are formed in float32 (float64 for few inputs), sums over batches in
float64 and in the order of the batches.
"""

from typing import Any, List, Optional, Tuple

#: Inputs up to which products are formed in float64: they cost little there, and small models need them.
EXACT_INPUTS = 256
#: Tokens kept to judge solutions by.
HELD_TOKENS = 256
#: Columns of a symmetric sum that are formed together, from the diagonal down.
COLUMNS = 256


class Inputs:
    """Sums over the tokens that solve, and some tokens that judge: ``gram`` x.T x, ``cross`` (z - x).T x, whole after ``complete``."""

    def __init__(self, inputs: int, cross: bool, device: Any = "cpu") -> None:
        import torch

        self.gram = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)
        self.cross = torch.zeros(inputs, inputs, dtype=torch.float64, device=device) if cross else None
        self.tokens = 0
        self._paired = 0
        self._held: List[Tuple[Any, Any]] = []

    def add(self, z: Optional[Any], x: Any) -> None:
        """Adds the products of a batch: z, x float32 [tokens, inputs]; z None where the float model did not run.

        Of the symmetric sum, the blocks from the diagonal down.
        """
        exact = x.shape[1] <= EXACT_INPUTS
        off = None if z is None or self.cross is None else z - x
        if exact:
            off, x = None if off is None else off.double(), x.double()
        for first in range(0, x.shape[1], COLUMNS):
            columns = slice(first, first + COLUMNS)
            _add_product(self.gram[first:, columns], x[:, first:], x[:, columns], exact)
            if off is not None:
                _add_product(self.cross[:, columns], off, x[:, columns], exact)
        self.tokens += len(x)
        self._paired += 0 if off is None else len(x)

    def complete(self) -> None:
        """Copies the lower part of the symmetric sum to the upper one; the other sum becomes what all tokens would have given."""
        if self.cross is not None and 0 < self._paired < self.tokens:
            self.cross *= self.tokens / self._paired
            self._paired = self.tokens
        for first in range(0, len(self.gram), COLUMNS):
            last = first + COLUMNS
            self.gram[first:last, last:] = self.gram[last:, first:last].t()

    def hold(self, z: Any, x: Any, batches: int) -> None:
        """Keeps tokens that judge: evenly spread over the batch, one of ``batches`` that do."""
        step = max(1, -(-len(x) * batches // HELD_TOKENS))
        if len(x):
            self._held.append((z[::step].clone(), x[::step].clone()))

    def held(self) -> Optional[Tuple[Any, Any]]:
        """(z, x) of the tokens that judge, float32 [tokens, inputs]; None when there are none."""
        import torch

        if not self._held:
            return None
        return torch.cat([z for z, _ in self._held]), torch.cat([x for _, x in self._held])

    def blend(self, others: "Inputs") -> None:
        """Adds of another's sums as much as is lacking for a quarter of a full rank: an expert that saw few tokens."""
        wanted = self.gram.shape[0] // 4
        if self.tokens >= wanted or others.tokens == 0:
            return
        share = (wanted - self.tokens) / others.tokens
        self.gram += share * others.gram
        if self.cross is not None and others.cross is not None:
            self.cross += share * others.cross


def _add_product(total: Any, left: Any, right: Any, exact: bool) -> None:
    """total [inputs, columns] += left.T right."""
    if exact:
        total.addmm_(left.t(), right)
    else:
        total += left.t() @ right
