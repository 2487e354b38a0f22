"""Open sizes that onnx's shape inference loses sight of, although they plainly are those of an input.

Inference gives a fresh symbol (``unk__0``) to the batch of a Resize by scale 1 and to the -1 of ``Reshape(x, [-1, 64])``.
Here the fresh symbols are traced back to the symbol they stand for.
"""

from typing import Any, Dict, List, Mapping, Optional, Sequence

from dopt.capture.network import Network, TensorType

#: How the symbols begin that inference makes up.
MADE_UP = "unk__"


def recover_symbols(network: Network, types: Mapping[str, TensorType]) -> Dict[str, Any]:
    """What made-up symbols stand for, by name; ``types`` are as inference left them, inputs included."""
    found: Dict[str, Any] = {}
    for node in network.nodes:
        if node.domain or node.op_type not in ("Resize", "Reshape") or len(node.input) < 2:
            continue
        before, after = types.get(node.input[0]), types.get(node.output[0])
        if before is None or after is None or before.shape is None or after.shape is None:
            continue
        source = [found.get(size, size) if isinstance(size, str) else size for size in before.shape]
        if node.op_type == "Resize":
            pairs = _resize_pairs(network, node, source, after.shape)
        else:
            pairs = _reshape_pairs(network, node, source, after.shape)
        for symbol, size in pairs.items():
            found.setdefault(symbol, size)
    return found


def _is_made_up(size: Any) -> bool:
    return isinstance(size, str) and size.startswith(MADE_UP)


def _resize_pairs(network: Network, node: Any, before: Sequence[Any], after: Sequence[Any]) -> Dict[str, Any]:
    """A size scaled by 1 stays what it was."""
    scales = network.weights.get(node.input[2]) if len(node.input) > 2 else None
    if scales is None or scales.array.size != len(after) or len(before) != len(after):
        return {}
    kept = [float(scale) == 1.0 for scale in scales.array.flat]
    return {a: b for a, b, same in zip(after, before, kept) if same and _is_made_up(a) and isinstance(b, str)}


def _reshape_pairs(network: Network, node: Any, before: Sequence[Any], after: Sequence[Any]) -> Dict[str, Any]:
    """The -1 of a target is the one open size of the data when all other elements are accounted for."""
    target = network.weights.get(node.input[1])
    if target is None or target.array.size != len(after):
        return {}
    places = [index for index, size in enumerate(target.array.flat) if int(size) == -1]
    open_sizes = [size for size in before if not isinstance(size, int)]
    if len(places) != 1 or len(open_sizes) != 1 or not isinstance(open_sizes[0], str):
        return {}
    rest = [size for index, size in enumerate(after) if index != places[0]]
    same = _product(rest) is not None and _product(rest) == _product([s for s in before if isinstance(s, int)])
    symbol = after[places[0]]
    return {symbol: open_sizes[0]} if same and _is_made_up(symbol) else {}


def _product(sizes: List[Any]) -> Optional[int]:
    product = 1
    for size in sizes:
        if not isinstance(size, int):
            return None
        product *= size
    return product
