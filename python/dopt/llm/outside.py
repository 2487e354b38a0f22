"""What lies outside of the blocks: embedding, last norm, head."""

from typing import Any, Dict, Iterator, Optional, Tuple

from dopt.llm.artifact import Writer
from dopt.llm.block import States, judges, makes_up
from dopt.llm.families import Linear, linears_of
from dopt.llm.gram import Batch, Inputs
from dopt.llm.linear import Weight
from dopt.llm.load import Source
from dopt.llm.network import parameters_of
from dopt.llm.solve import Prepared, Solution, dequantized, grid_of, solve
from dopt.llm.stream import Stream

#: Weights of embedding and head that are worked on at a time.
PART_WEIGHTS = 1 << 21


def round_rows(weight: Any, bits: int) -> Tuple[Any, Any]:
    """A matrix, a tensor, with one symmetric scale a row: int8 and float32 [rows, 1], as numpy arrays."""
    import numpy as np

    limit = 2 ** (bits - 1) - 1
    rows = weight.cpu().numpy()
    scales = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / np.float32(limit), np.float32(2.0**-24)).astype(np.float32)
    return np.clip(np.rint(rows / scales), -limit, limit).astype(np.int8), scales


def quantize_embedding(source: Source, writer: Writer, bits: Optional[int]) -> None:
    """Writes the embedding's integers, unless an earlier run did."""
    import numpy as np

    if bits is None or writer.has(source.embedding_name):
        return
    weight = source.network.get_input_embeddings().weight.data
    integers, scales = np.empty(tuple(weight.shape), np.int8), np.empty((len(weight), 1), np.float32)
    for rows in _parts(weight):
        integers[rows], scales[rows] = round_rows(weight[rows], bits)
    writer.embedding(source.embedding_name, integers, scales)


def round_embedding(source: Source, bits: Optional[int]) -> None:
    """Makes the network's embedding, in its place, what its integers stand for: the float one is not needed behind the first
    hidden states. A head that is the same matrix is read anew (``head_weight``)."""
    import torch

    if bits is None:
        return
    weight = _own(source, source.network.get_input_embeddings())
    for rows in _parts(weight):
        weight[rows] = dequantized(*(torch.from_numpy(each).to(source.device) for each in round_rows(weight[rows], bits)))


def head_weight(source: Source, linear: Linear) -> Weight:
    """The float head; the network's own, where that is no embedding that was rounded."""
    if source.shares_head:
        return source.weight(linear)
    return Weight(linear, source.network.get_output_embeddings().weight.data)


def put_head(source: Source, solution: Optional[Solution], bits: Optional[int]) -> None:
    """Makes the network's head what it will be: ``solution``, or float where there is none; ``bits``: of the embedding, which is
    not needed any more."""
    head = source.network.get_output_embeddings()
    if head is None:
        return
    if solution is not None:
        weight = _own(source, head)
        for rows in _parts(weight):
            weight[rows] = dequantized(solution.integers[rows], solution.scales[rows])
    elif source.shares_head and bits is not None:
        _own(source, head).copy_(source.stored_as(f"{source.head_name}.weight"))


def _own(source: Source, module: Any) -> Any:
    """The weight of a module, to be changed; of a model that is in memory as a whole a copy, since what was read stays."""
    import torch

    if source.whole:
        module._parameters["weight"] = torch.nn.Parameter(module.weight.data.clone(), requires_grad=False)
    return module.weight.data


def _parts(matrix: Any) -> Iterator[slice]:
    """A matrix in parts of its rows, so that copies stay small."""
    count = max(1, PART_WEIGHTS // matrix.shape[1])
    return (slice(first, first + count) for first in range(0, len(matrix), count))


def quantize_head(
    rows: Any, source: Source, stream: Stream, ids: Any, states: States, strategy: Dict[str, Any], options: Dict[str, Any]
) -> Tuple[Solution, int]:
    """Solves the head's integers from its inputs in both models; also how many tokens there were."""
    linear = next(each for each in linears_of(source.network, "") if each.name == source.head_name)
    solver = options["solver"]
    if strategy["bits"] >= 8:  # a fine grid: error feedback over a whole vocabulary would cost more than it brings
        solver = {**solver, "rounding": "nearest", "ridges": []}
    weight = head_weight(source, linear)
    inputs = Inputs(linear.shape[1], makes_up(solver), source.device, None if linear.shape[0] > linear.shape[1] else [weight])
    batches = list(zip(ids.split(len(states.quantized[0])), states.float, states.quantized))
    judging = sum(judges(index, solver["heldBack"], len(batches)) for index in range(len(batches)))
    for index, (batch, z, x) in enumerate(batches):
        pair = Batch(
            *(None if hidden is None else stream.before_head(batch, hidden).reshape(-1, linear.shape[1]) for hidden in (z, x))
        )
        if judges(index, solver["heldBack"], len(batches)):
            pair = inputs.hold(pair, judging)
        inputs.add(pair)
        options["events"].check_cancelled()
    grid = grid_of(strategy, linear.shape[1])
    (solution,) = solve(rows, [weight], Prepared(inputs, solver), [grid])
    return solution, inputs.tokens


def write_floats(
    source: Source, stream: Stream, writer: Writer, strategies: Dict[str, Any], embedding_bits: Optional[int]
) -> None:
    """Writes all outside of the blocks that stays float."""
    inside = f"{stream.blocks.name}."
    done = {f"{source.head_name}.weight"} if source.head_name in strategies else set()
    if embedding_bits is not None:
        done.add(f"{source.embedding_name}.weight")
    elif source.shares_head:
        done.add(f"{source.head_name}.weight")  # the embedding serves
    for _, _, name in parameters_of(source.network, ""):
        if not name.startswith(inside) and name not in done and not writer.has(name):
            writer.floats(name, source.read(name).cpu().numpy())


