"""Sums over the tokens of a linear's input: what its integers are solved from.

x is the input that the quantized model feeds a linear, z the input in the float model: x for all tokens, z for those of some
batches (``crosses`` of block.py). Products of a batch are formed in float32 (float64 for few inputs), sums of x over batches in
float64 and in the order of the batches.
"""

from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from dopt.llm.factor import mirror
from dopt.llm.linear import Weight

#: Inputs up to which products are formed in float64: they cost little there, and small models need them.
EXACT_INPUTS = 256
#: Tokens kept to judge solutions by.
HELD_TOKENS = 256
#: Columns of a sum that are formed together: of a symmetric one from the diagonal down.
COLUMNS = 256


class Batch(NamedTuple):
    """Tokens at a linear, float32: ``z`` and ``x`` [tokens, inputs], ``z`` None where the float model did not run; ``streams`` is
    what the linear adds to in the float and in the quantized model, [tokens, outputs] each, None where that is not known."""

    z: Optional[Any]
    x: Any
    streams: Optional[Tuple[Any, Any]] = None

    def lack(self, outputs: slice = slice(None)) -> Optional[Any]:
        """What the quantized model's stream lacks, [tokens, outputs]."""
        return None if self.streams is None else self.streams[0][:, outputs] - self.streams[1][:, outputs]


class Inputs:
    """Sums over the tokens that solve, and some tokens that judge: ``gram`` x.T x, whole after ``complete``, and what tells of
    errors before the linears.

    That is ``cross``, (z - x).T x, which serves all linears that share the input. Where their outputs are fewer than the inputs,
    or one makes up for what the residual stream lacks, it is ``missing`` instead, for each of ``weights`` W, [outputs, inputs]:
    ((z - x) W.T + lack).T x, what the stream lacks behind it times the input.
    """

    def __init__(self, inputs: int, cross: bool, device: Any = "cpu", weights: Optional[List[Weight]] = None) -> None:
        import torch

        self.gram = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)
        self._weights = (weights or []) if cross else []
        self.cross = self._zeros(inputs) if cross and weights is None else None
        self.missing = [self._zeros(weight.shape[0]) for weight in self._weights]
        self.tokens = 0
        self._paired = 0
        self._held: List[Batch] = []

    @property
    def has_cross(self) -> bool:
        """Whether errors before the linears are known."""
        return self.cross is not None or bool(self.missing)

    def add(self, batch: Batch) -> None:
        """Adds the products of a batch."""
        self.add_all([batch], map)

    def add_all(self, batches: List[Batch], mapped: Callable[..., Any]) -> None:
        """The same for several, in their order. ``mapped``: a ``map`` that may use threads, over columns of the sums."""
        exact = len(self.gram) <= EXACT_INPUTS
        crossing = [each for each in batches if each.z is not None] if self.has_cross else []
        self.tokens += sum(len(each.x) for each in batches)
        self._paired += sum(len(each.x) for each in crossing)
        wide = [each.x.double() if exact else each.x for each in batches]

        def square(part: slice) -> None:
            for x in wide:  # of the symmetric sum, the blocks from the diagonal down
                _add_product(self.gram[part.start :, part], x[:, part.start :], x[:, part])
            if self.cross is not None:
                for z, x, _ in crossing:
                    off = z[:, part] - x[:, part]
                    _add_product(self.cross[part], off.double() if exact else off, x.double() if exact else x)

        def lacking(place: int, part: slice) -> None:
            weight, total = self._weights[place].rows(part), self.missing[place][part]
            weight = weight.double() if exact else weight
            for batch in crossing:
                off = (batch.z - batch.x).to(weight.dtype) @ weight.t()
                lack = batch.lack(part)
                if lack is not None:
                    off += lack
                _add_product(total, off, batch.x.double() if exact else batch.x)

        work: List[Callable[[], None]] = [lambda part=part: square(part) for part in _parts(len(self.gram))]  # type: ignore[misc]
        if crossing:
            for place, total in enumerate(self.missing):
                work += [lambda place=place, part=part: lacking(place, part) for part in _parts(len(total))]  # type: ignore[misc]
        for _ in mapped(lambda one: one(), work):
            pass

    def _zeros(self, rows: int) -> Any:
        """Zeros [rows, inputs]: what is learned from a share of the tokens needs no more than float32."""
        import torch

        inputs = len(self.gram)
        return self.gram.new_zeros(rows, inputs, dtype=torch.float64 if inputs <= EXACT_INPUTS else torch.float32)

    def complete(self) -> None:
        """Copies the lower part of the symmetric sum to the upper one; the others become what all tokens would have given."""
        if 0 < self._paired < self.tokens:
            for each in [*([] if self.cross is None else [self.cross]), *self.missing]:
                each *= self.tokens / self._paired
            self._paired = self.tokens
        mirror(self.gram)

    def forget_cross(self) -> None:
        """Frees what tells of errors before the linears."""
        self.cross, self.missing, self._weights = None, [], []

    def hold(self, batch: Batch, batches: int) -> None:
        """Keeps tokens that judge: evenly spread over the batch, which has a ``z``, one of ``batches`` that do."""
        step = max(1, -(-len(batch.x) * batches // HELD_TOKENS))
        if len(batch.x):
            streams = batch.streams and tuple(each[::step].clone() for each in batch.streams)
            self._held.append(Batch(batch.z[::step].clone(), batch.x[::step].clone(), streams))  # type: ignore[index,arg-type]

    def held(self) -> Optional[Batch]:
        """The tokens that judge; None when there are none."""
        import torch

        if len(self._held) > 1:
            z, x, streams = zip(*self._held)
            both = None if streams[0] is None else (torch.cat([one for one, _ in streams]), torch.cat([one for _, one in streams]))
            self._held = [Batch(torch.cat(z), torch.cat(x), both)]
        return self._held[0] if self._held else None

    def blend(self, others: "Inputs") -> None:
        """Adds of another's sums as much as is lacking for a quarter of a full rank: an expert that saw few tokens."""
        wanted = self.gram.shape[0] // 4
        if self.tokens >= wanted or others.tokens == 0:
            return
        self.gram += (wanted - self.tokens) / others.tokens * others.gram


def _parts(count: int) -> List[slice]:
    return [slice(first, first + COLUMNS) for first in range(0, count, COLUMNS)]


def _add_product(total: Any, left: Any, right: Any) -> None:
    """total += left.T right."""
    if total.dtype == left.dtype:
        total.addmm_(left.t(), right)
    else:
        total += left.t() @ right
