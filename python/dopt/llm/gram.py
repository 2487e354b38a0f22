"""Sums over the tokens of a linear's input: what its integers are solved from.

x is the input that the quantized model feeds a linear, z the input in the float model: x for all tokens, z for those of some
batches (``crosses`` of block.py). Products of a batch are formed in float32 (float64 for few inputs), sums of x over batches in
float64 and in the order of the batches.
"""

from typing import Any, Callable, List, Optional, Tuple

from dopt.llm.factor import mirror

#: Inputs up to which products are formed in float64: they cost little there, and small models need them.
EXACT_INPUTS = 256
#: Tokens kept to judge solutions by.
HELD_TOKENS = 256
#: Columns of a symmetric sum that are formed together, from the diagonal down.
COLUMNS = 256

#: (z, x) of a batch, float32 [tokens, inputs]; z None where the float model did not run.
Pair = Tuple[Optional[Any], Any]


class Inputs:
    """Sums over the tokens that solve, and some tokens that judge: ``gram`` x.T x, whole after ``complete``, and (z - x).T x.

    The second is a matrix as well where more outputs than inputs are solved (``whole``); for fewer it serves as a product
    with weights alone (``crossed``), so the tokens themselves are kept, as long as they take no more than the matrix would.
    """

    def __init__(self, inputs: int, cross: bool, device: Any = "cpu", whole: bool = True) -> None:
        import torch

        self.gram = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)
        self.cross = self._no_cross() if cross and whole else None
        self.has_cross, self.whole = cross, whole
        self.tokens = 0
        self._pairs: List[Tuple[Any, Any]] = []
        self._paired = 0
        self._held: List[Tuple[Any, Any]] = []

    def add(self, z: Optional[Any], x: Any) -> None:
        """Adds the products of a batch: z, x float32 [tokens, inputs]; z None where the float model did not run."""
        self.add_all([(z, x)], map)

    def add_all(self, batches: List[Pair], mapped: Callable[..., Any]) -> None:
        """The same for several, in their order. ``mapped``: a ``map`` that may use threads, over columns of the sums."""
        inputs = len(self.gram)
        exact = inputs <= EXACT_INPUTS
        crossing = [(z, x) for z, x in batches if z is not None] if self.has_cross else []
        self.tokens += sum(len(x) for _, x in batches)
        self._paired += sum(len(x) for _, x in crossing)
        if self.cross is None:
            self._pairs += crossing
            crossing = []
            if 2 * self._paired > inputs:
                crossing, self._pairs = self._pairs, []
                self.cross = self._no_cross()
        wide = [x.double() if exact else x for _, x in batches]

        def one(first: int) -> None:
            part = slice(first, first + COLUMNS)
            for x in wide:  # of the symmetric sum, the blocks from the diagonal down
                _add_product(self.gram[first:, part], x[:, first:], x[:, part])
            for z, x in crossing:
                off = z[:, part] - x[:, part]
                _add_product(self.cross[part], off.double() if exact else off, x.double() if exact else x)

        for _ in mapped(one, list(range(0, inputs, COLUMNS))):
            pass

    def _no_cross(self) -> Any:
        """Zeros for (z - x).T x: what is learned from a share of the tokens needs no more than float32."""
        import torch

        return self.gram.new_zeros(self.gram.shape, dtype=torch.float64 if len(self.gram) <= EXACT_INPUTS else torch.float32)

    def complete(self) -> None:
        """Copies the lower part of the symmetric sum to the upper one; the other sum becomes what all tokens would have given."""
        if self.cross is not None and 0 < self._paired < self.tokens:
            self.cross *= self.tokens / self._paired
            self._paired = self.tokens
        mirror(self.gram)

    def crossed(self, weight: Any, dtype: Any) -> Any:
        """weight [outputs, inputs] times (z - x).T x, as all tokens would have given it, in a type."""
        if self.cross is not None:
            return (weight.to(self.cross.dtype) @ self.cross).to(dtype)
        exact = len(self.gram) <= EXACT_INPUTS
        made = weight.new_zeros(weight.shape, dtype=dtype)
        given = weight.to(dtype) if exact else weight.float()
        for z, x in self._pairs:
            off = z - x
            made += (given @ off.t().to(given.dtype)) @ x.to(given.dtype)
        return made.mul_(self.tokens / max(1, self._paired))

    def forget_cross(self) -> None:
        """Frees what ``crossed`` needs."""
        self.cross, self._pairs = None, []

    def hold(self, z: Any, x: Any, batches: int) -> None:
        """Keeps tokens that judge: evenly spread over the batch, one of ``batches`` that do."""
        step = max(1, -(-len(x) * batches // HELD_TOKENS))
        if len(x):
            self._held.append((z[::step].clone(), x[::step].clone()))

    def held(self) -> Optional[Tuple[Any, Any]]:
        """(z, x) of the tokens that judge, float32 [tokens, inputs]; None when there are none."""
        import torch

        if len(self._held) > 1:
            both = zip(*self._held)
            self._held = [tuple(torch.cat(each) for each in both)]  # type: ignore[list-item]
        return self._held[0] if self._held else None

    def blend(self, others: "Inputs") -> None:
        """Adds of another's sums as much as is lacking for a quarter of a full rank: an expert that saw few tokens."""
        wanted = self.gram.shape[0] // 4
        if self.tokens >= wanted or others.tokens == 0:
            return
        self.gram += (wanted - self.tokens) / others.tokens * others.gram


def _add_product(total: Any, left: Any, right: Any) -> None:
    """total [inputs, columns] += left.T right."""
    if total.dtype == left.dtype:
        total.addmm_(left.t(), right)
    else:
        total += left.t() @ right
