"""What lies outside of the blocks: embedding, last norm, head."""

from typing import Any, Dict, Optional, Tuple

from dopt.llm.artifact import Writer
from dopt.llm.block import States, judges
from dopt.llm.families import linears_of
from dopt.llm.gram import Inputs
from dopt.llm.load import Source
from dopt.llm.network import parameters_of
from dopt.llm.solve import Prepared, Solution, dequantized, grid_of, solve
from dopt.llm.stream import Stream


def round_rows(weight: Any, bits: int) -> Tuple[Any, Any]:
    """A matrix, a tensor, with one symmetric scale a row: int8 and float32 [rows, 1], as numpy arrays."""
    import numpy as np

    limit = 2 ** (bits - 1) - 1
    rows = weight.cpu().numpy()
    scales = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / np.float32(limit), np.float32(2.0**-24)).astype(np.float32)
    return np.clip(np.rint(rows / scales), -limit, limit).astype(np.int8), scales


def quantize_embedding(source: Source, writer: Writer, bits: Optional[int]) -> None:
    """Writes the embedding's integers, unless an earlier run did."""
    if bits is not None and not writer.has(source.embedding_name):
        integers, scales = round_rows(source.read(f"{source.embedding_name}.weight"), bits)
        writer.embedding(source.embedding_name, integers, scales)


def rounded_embedding(source: Source, bits: Optional[int]) -> Optional[Any]:
    """The embedding as its integers stand for it; None where it stays float."""
    import torch

    if bits is None:
        return None
    rounded = round_rows(source.read(f"{source.embedding_name}.weight"), bits)
    return dequantized(*(torch.from_numpy(each).to(source.device) for each in rounded))


def quantize_head(
    rows: Any, source: Source, stream: Stream, ids: Any, states: States, strategy: Dict[str, Any], options: Dict[str, Any]
) -> Tuple[Solution, int]:
    """Solves the head's integers from its inputs in both models; also how many tokens there were."""
    linear = next(each for each in linears_of(source.network, "") if each.name == source.head_name)
    solver = options["solver"]
    if strategy["bits"] >= 8:  # a fine grid: error feedback over a whole vocabulary would cost more than it brings
        solver = {**solver, "rounding": "nearest", "ridges": []}
    cross = bool(solver["ridges"]) and solver["rounding"] == "gptq"
    inputs = Inputs(linear.shape[1], cross, source.device)
    batches = list(zip(ids.split(len(states.quantized[0])), states.float, states.quantized))
    judging = sum(judges(index, solver["heldBack"], len(batches)) for index in range(len(batches)))
    for index, (batch, z, x) in enumerate(batches):
        judging_this = judges(index, solver["heldBack"], len(batches))
        given = [x if z is None and judging_this else z, x]
        pair = [
            None if hidden is None else stream.before_head(batch, hidden).reshape(-1, linear.shape[1]) for hidden in given
        ]
        if judging_this:
            inputs.hold(pair[0], pair[1], judging)
        else:
            inputs.add(pair[0], pair[1])
        options["events"].check_cancelled()
    weight = source.read(linear.parameter)
    solution = solve(rows, weight, Prepared(inputs, solver, linear.shape[0]), grid_of(strategy, linear.shape[1]))
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


