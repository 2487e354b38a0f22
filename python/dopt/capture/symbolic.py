"""Arithmetic on shapes: which integer tensors have values that follow from inferred shapes alone.

Values are object arrays of ints, symbols of open sizes ("batch") and None for the unknown, so that
``Shape -> Gather(1)`` is a constant although the batch size is not. Only what exporters build shapes from is covered;
everything else is left to the graph.
"""

from typing import Any, Callable, Dict, Mapping, Optional

from dopt.capture.network import INT64, Network, TensorType, Weight, attribute

INT32 = 6
#: Shape tensors are short; anything longer is data.
MAX_ELEMENTS = 64


def evaluate(network: Network, types: Mapping[str, TensorType]) -> Dict[str, Any]:
    """Values of small integer node outputs, as far as shapes and constants determine them, by tensor name."""
    known: Dict[str, Any] = {}

    def value_of(name: str) -> Any:
        if name in known:
            return known[name]
        weight = network.weights.get(name)
        if weight is None or weight.type not in (INT32, INT64) or weight.array.size > MAX_ELEMENTS:
            return None
        return _objects(weight.array)

    for node in network.nodes:
        rule = _RULES.get(node.op_type)
        if rule is None or node.domain or len(node.output) != 1:
            continue
        try:
            value = rule(node, value_of, types)
        except (ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError):
            value = None
        if value is not None and value.size <= MAX_ELEMENTS:
            known[node.output[0]] = value
    return known


def static_values(values: Mapping[str, Any], types: Mapping[str, TensorType]) -> Dict[str, Weight]:
    """The ``evaluate``d tensors all of whose elements are numbers, as int64 or int32 weights."""
    found = {}
    for name, value in values.items():
        weight = _weight(value, types.get(name)) if _integers(value) is not None else None
        if weight is not None:
            found[name] = weight
    return found


def _weight(value: Any, known: Optional[TensorType]) -> Optional[Weight]:
    import numpy as np

    kind = known.type if known is not None else INT64
    if kind not in (INT32, INT64):
        return None
    return Weight(kind, value.astype(np.int64 if kind == INT64 else np.int32))


def _objects(array: Any) -> Any:
    import numpy as np

    result = np.empty(array.shape, object)
    for index in np.ndindex(*array.shape):
        result[index] = int(array[index])
    return result


def _int(node: Any, name: str, default: Optional[int]) -> Optional[int]:
    item = attribute(node, name)
    return default if item is None else int(item.i)


def _integers(value: Any) -> Any:
    """A fully known value as a flat list of ints, else None."""
    if value is None or not all(isinstance(element, int) for element in value.flat):
        return None
    return [int(element) for element in value.flat]


def _shape(node: Any, _: Callable[[str], Any], types: Mapping[str, TensorType]) -> Any:
    import numpy as np

    known = types.get(node.input[0])
    if known is None or known.shape is None:
        return None
    sizes = np.empty(len(known.shape), object)
    sizes[:] = known.shape
    end = _int(node, "end", None)
    return sizes[_int(node, "start", 0) : end]


def _count(node: Any, _: Callable[[str], Any], types: Mapping[str, TensorType]) -> Any:
    known = types.get(node.input[0])
    shape = known.static_shape() if known is not None else None
    if shape is None:
        return None
    product = 1
    for size in shape:
        product *= size
    return _scalar(product)


def _scalar(number: Optional[int]) -> Any:
    import numpy as np

    result = np.empty((), object)
    result[()] = number
    return result


def _gather(node: Any, value_of: Callable[[str], Any], _: Any) -> Any:
    import numpy as np

    data, indices = value_of(node.input[0]), value_of(node.input[1])
    where = _integers(indices)
    if data is None or where is None or _int(node, "axis", 0) != 0 or data.ndim != 1:
        return None
    result = np.empty(indices.shape, object)
    result.reshape(-1)[:] = [data[index] for index in where]
    return result


def _slice(node: Any, value_of: Callable[[str], Any], _: Any) -> Any:
    parts = [_integers(value_of(name)) if name else None for name in node.input[1:]]
    data = value_of(node.input[0])
    given = [name for name in node.input[1:] if name]
    if data is None or data.ndim != 1 or len([p for p in parts if p is not None]) != len(given):
        return None
    starts, ends = parts[0], parts[1]
    axes = parts[2] if len(parts) > 2 and parts[2] else [0]
    step = parts[3][0] if len(parts) > 3 and parts[3] else 1
    if len(starts) != 1 or axes[0] not in (0, -1):
        return None
    end: Optional[int] = ends[0]
    if step < 0 and end is not None and end < -len(data):
        end = None
    return data[starts[0] : end : step]


def _concat(node: Any, value_of: Callable[[str], Any], _: Any) -> Any:
    import numpy as np

    values = [value_of(name) for name in node.input]
    if any(value is None or value.ndim != 1 for value in values):
        return None
    return np.concatenate(values)


def _reshape_flat(node: Any, value_of: Callable[[str], Any], types: Mapping[str, TensorType]) -> Any:
    """Unsqueeze, Squeeze and Reshape keep the elements; the new shape is the inferred one."""
    data, known = value_of(node.input[0]), types.get(node.output[0])
    shape = known.static_shape() if known is not None else None
    return None if data is None or shape is None else data.reshape(shape)


def _cast(node: Any, value_of: Callable[[str], Any], _: Any) -> Any:
    return value_of(node.input[0]) if _int(node, "to", 0) in (INT32, INT64) else None


def _elementwise(function: Callable[[int, int], int]) -> Callable[..., Any]:
    def rule(node: Any, value_of: Callable[[str], Any], _: Any) -> Any:
        import numpy as np

        left, right = value_of(node.input[0]), value_of(node.input[1])
        if left is None or right is None:
            return None
        left, right = np.broadcast_arrays(left, right)
        result = np.empty(left.shape, object)
        for index in np.ndindex(*left.shape):
            a, b = left[index], right[index]
            result[index] = function(a, b) if isinstance(a, int) and isinstance(b, int) else None
        return result

    return rule


def _truncated(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


_RULES: Dict[str, Callable[..., Any]] = {
    "Shape": _shape,
    "Size": _count,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _reshape_flat,
    "Squeeze": _reshape_flat,
    "Reshape": _reshape_flat,
    "Cast": _cast,
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _elementwise(_truncated),
}
