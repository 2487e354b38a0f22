"""Sums over the tokens of a linear's input: what its integers are solved from.

x is the input that the quantized model feeds a linear, z the input in the float model: x for all tokens, z for those of some
batches (``crosses`` of block.py). Products of a batch are formed in float32 (float64 for few inputs), sums of x over batches in
float64 and in the order of the batches.
"""

from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from dopt.llm.factor import mirror
from dopt.llm.linear import Weight
from dopt.llm.product import multiply

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

    def part(self, tokens: slice) -> "Batch":
        """Some of the tokens."""
        streams = self.streams and (self.streams[0][tokens], self.streams[1][tokens])
        return Batch(None if self.z is None else self.z[tokens], self.x[tokens], streams)

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
        for batch in batches:
            if len(batch.x):
                self._add_batch(batch, mapped)

    def _add_batch(self, batch: Batch, mapped: Callable[..., Any]) -> None:
        x = batch.x.double() if len(self.gram) <= EXACT_INPUTS else batch.x
        turned = x.t().contiguous()  # products are fastest over rows
        crosses = batch.z is not None and self.has_cross
        off = (batch.z - batch.x).to(x.dtype) if crosses else None
        self.tokens += len(x)
        self._paired += len(x) if crosses else 0

        def square(part: slice) -> None:  # of the symmetric sum, the blocks from the diagonal down
            self.gram[part.start :, part] += multiply(turned[part.start :], turned[part])

        def cross(part: slice) -> None:
            self.cross[part] += multiply(off[:, part].t().contiguous(), turned)  # type: ignore[index]

        def lacking(place: int, part: slice) -> None:
            behind = multiply(off, self._weights[place].rows(part).to(x.dtype))
            lack = batch.lack(part)
            behind = behind if lack is None else behind.add_(lack)
            self.missing[place][part] += multiply(behind.t().contiguous(), turned)

        work: List[Callable[[], None]] = [lambda part=part: square(part) for part in _parts(len(self.gram))]  # type: ignore[misc]
        if crosses and self.cross is not None:
            work += [lambda part=part: cross(part) for part in _parts(len(self.cross))]  # type: ignore[misc]
        if crosses:
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

    def hold(self, batch: Batch, batches: int) -> Batch:
        """Keeps the first tokens of a batch, one of ``batches`` that judge; returns the others, which may solve."""
        count = -(-HELD_TOKENS // batches)
        z, x, streams = batch.part(slice(count))
        if len(x):
            copied = streams and (streams[0].clone(), streams[1].clone())
            self._held.append(Batch((x if z is None else z).clone(), x.clone(), copied))
        return batch.part(slice(count, None))

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
