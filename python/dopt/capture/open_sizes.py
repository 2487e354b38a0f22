"""Sizes that inference does not find where the batch is open: those of a network whose batch is two numbers, one after the other.

A size that is the same for both does not depend on the batch; one that grows with it is a multiple of it. Keras normalizes layers
in tensors of [1, 16·batch, 48, 1], which no symbol of onnx stands for.
"""

from typing import Dict, Optional

from dopt.capture.network import Network, TensorType, value_type
from dopt.capture.shapes import infer
from dopt.capture.symbolic import evaluate, static_values
from dopt.capture.symbols import MADE_UP

#: Primes, and larger than the numbers of axes and groups that networks count with: no size is a multiple of one by chance of them.
FEW, MANY = 101, 103


def measure_open_sizes(network: Network, types: Dict[str, TensorType]) -> Dict[str, TensorType]:
    """``types`` with more sizes known, where the inputs have one open size among them all: numbers, its symbol, or ``16*symbol``."""
    inputs = [found for found in map(value_type, network.graph.input) if found is not None]
    symbols = {size for found in inputs for size in found.shape or () if isinstance(size, str)}
    produced = {name for node in network.nodes for name in node.output}
    unknown = [name for name in produced if name in types and _is_unknown(types[name])]
    if len(symbols) != 1 or not unknown:
        return types
    (symbol,) = symbols
    few, many = (_infer_with(network, {symbol: count}) for count in (FEW, MANY))
    known = dict(types)
    for name in unknown:
        measured = [each[name].static_shape() if name in each else None for each in (few, many)]
        if measured[0] is not None and measured[1] is not None and len(measured[0]) == len(measured[1]):
            sizes = tuple(_size(a, b, symbol) for a, b in zip(*measured))
            if None not in sizes:
                known[name] = TensorType(types[name].type, sizes)
    return known


def _infer_with(network: Network, sizes: Dict[str, int]) -> Dict[str, TensorType]:
    """Types for a batch of so many; shapes that the network computes are numbers then, more of them than onnx follows by itself."""
    types = infer(network, sizes)
    return infer(network, sizes, static_values(evaluate(network, types), types))


def _is_unknown(found: TensorType) -> bool:
    return found.shape is None or any(size is None or str(size).startswith(MADE_UP) for size in found.shape)


def _size(few: int, many: int, symbol: str) -> Optional[object]:
    if few == many:
        return few
    times, rest = divmod(few, FEW)
    if rest or times * MANY != many:
        return None
    return symbol if times == 1 else f"{times}*{symbol}"
