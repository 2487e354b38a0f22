"""PReLU in any spelling: elementwise operators from one tensor x that give x above zero and slope · x below it.

TensorFlow has no operator for it, and every author writes another sum: relu(x) − a·relu(−x), relu(x) + a·(x − |x|)/2,
where(x > 0, x, a·x), … So the function is told by its values, whatever it is made of.
"""

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Set

from dopt.capture.network import BOOL, FLOAT, Network, Weight, attribute, reads, unique_name

#: Operators that a spelling can end with.
_LAST = {"Add", "Sub", "Where", "Max", "Min"}
#: Operators that tell negative values from others: one of them has to be in it.
_SIGNED = {
    "Relu", "ThresholdedRelu", "LeakyRelu", "Abs", "Sign", "Clip", "Max", "Min", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual",
}  # fmt: skip
#: Nodes of the longest spelling that is looked for, and of the shortest.
_MOST, _LEAST = 12, 2
#: Magnitudes at which the function is tried, on both sides of zero.
_TRIED = (1e-3, 0.05, 1.0, 5.0, 7.0, 300.0, 2e4)
_TOLERANCE = 1e-6


class _Cone(NamedTuple):
    """The nodes between a tensor and a result that depends on it alone, in order."""

    tensor: str
    nodes: List[Any]


def recognize_prelu(network: Network) -> int:
    """Puts PRelu (LeakyRelu where all channels have one slope) in the place of spelled-out ones; answers how many."""
    from onnx import helper

    producers = {name: node for node in network.nodes for name in node.output if name}
    position = {node.name: place for place, node in enumerate(network.nodes)}
    readers: Dict[str, Set[str]] = {name: {""} for name in network.output_names()}
    for node in network.nodes:
        for name in reads(node):
            readers.setdefault(name, set()).add(node.name)
    taken = network.tensor_names()
    removed: Set[str] = set()
    found = 0
    for last in network.nodes:
        if last.op_type not in _LAST or last.domain:
            continue
        cone = _cone(network, last, producers, position)
        slope = cone and _slope(network, cone, readers, last)
        if slope is None:
            continue
        removed |= {node.name for node in cone.nodes} - {last.name}
        del last.input[:], last.attribute[:]
        last.input.append(cone.tensor)
        if slope.size == 1:
            last.op_type = "LeakyRelu"
            last.attribute.append(helper.make_attribute("alpha", float(slope.reshape(-1)[0])))
        else:
            last.op_type = "PRelu"
            last.input.append(unique_name(f"{last.name}/slope", taken))
            network.weights[last.input[1]] = Weight(FLOAT, slope)
        found += 1
    if found:
        network.replace_nodes([node for node in network.nodes if node.name not in removed])
    return found


def _cone(network: Network, last: Any, producers: Mapping[str, Any], position: Mapping[str, int]) -> Optional[_Cone]:
    """Walks back from a node, the latest producer first, until all that is left to come from is one tensor."""
    nodes = [last]
    border = _data(network, last)
    while len(border) > 1:
        made = [producers[name] for name in border if name in producers]
        if len(nodes) == _MOST or len(border) > 4 or not made:
            return None
        latest = max(made, key=lambda node: position[node.name])
        if latest.domain or latest.op_type not in _FUNCTIONS or len(latest.output) != 1:
            return None
        nodes.append(latest)
        border = (border - set(latest.output)) | _data(network, latest)
    if len(border) != 1 or not _LEAST <= len(nodes):
        return None
    return _Cone(border.pop(), nodes[::-1])


def _data(network: Network, node: Any) -> Set[str]:
    return {name for name in node.input if name and name not in network.weights}


def _slope(network: Network, cone: _Cone, readers: Mapping[str, Set[str]], last: Any) -> Any:
    """The slope below zero as float32, where the cone computes a PReLU and nobody reads what lies inside it."""
    import numpy as np

    inside = {node.name for node in cone.nodes}
    if not any(node.op_type in _SIGNED for node in cone.nodes):
        return None
    if any(not readers.get(node.output[0], set()) <= inside for node in cone.nodes if node is not last):
        return None
    constants = [name for node in cone.nodes for name in node.input if name in network.weights]
    if any(network.weights[name].type != FLOAT for name in constants):
        return None
    try:
        with np.errstate(all="ignore"):
            above = [_value(network, cone, size) for size in _TRIED]
            below = [_value(network, cone, -size) for size in _TRIED]
    except (ValueError, TypeError, KeyError):
        return None
    slope = np.asarray(below[_TRIED.index(1.0)], np.float64) * -1.0
    close = lambda found, wanted, size: np.all(np.abs(found - wanted) <= _TOLERANCE * size)  # noqa: E731
    if not all(close(found, size, size) for found, size in zip(above, _TRIED)):
        return None
    if not all(close(found, -size * slope, size * max(1.0, np.max(np.abs(slope)))) for found, size in zip(below, _TRIED)):
        return None
    return np.ascontiguousarray(slope, np.float32)


def _value(network: Network, cone: _Cone, number: float) -> Any:
    """What the cone makes of one number, an array of the shape that its constants have together."""
    import numpy as np

    values: Dict[str, Any] = {cone.tensor: np.float64(number)}

    def value_of(name: str) -> Any:
        if name in values:
            return values[name]
        weight = network.weights.get(name)
        return None if weight is None else weight.array.astype(np.float64)

    for node in cone.nodes:
        values[node.output[0]] = _FUNCTIONS[node.op_type](node, *[value_of(name) if name else None for name in node.input])
    return values[cone.nodes[-1].output[0]]


def _larger(_: Any, *values: Any) -> Any:
    result = values[0]
    for value in values[1:]:
        result = result * (result >= value) + value * (result < value)
    return result


def _smaller(_: Any, *values: Any) -> Any:
    return -_larger(_, *(-value for value in values))


def _clip(node: Any, x: Any, low: Any = None, high: Any = None) -> Any:
    x = x if low is None else _larger(node, x, low)
    return x if high is None else _smaller(node, x, high)


def _leaky(node: Any, x: Any) -> Any:
    alpha = attribute(node, "alpha")
    return x * ((x >= 0) + (x < 0) * (0.01 if alpha is None else alpha.f))


def _thresholded(node: Any, x: Any) -> Any:
    alpha = attribute(node, "alpha")
    return x * (x > (1.0 if alpha is None else alpha.f))


def _cast(node: Any, x: Any) -> Any:
    kind = attribute(node, "to")
    if kind is None or kind.i not in (FLOAT, BOOL):
        raise ValueError("a cast that rounds")
    return x != 0 if kind.i == BOOL else x * 1.0


#: What an operator computes from its node and the values of its inputs, None for inputs left out.
_FUNCTIONS: Dict[str, Callable[..., Any]] = {
    "Add": lambda _, a, b: a + b,
    "Sub": lambda _, a, b: a - b,
    "Mul": lambda _, a, b: a * b,
    "Div": lambda _, a, b: a / b,
    "Neg": lambda _, x: -x,
    "Abs": lambda _, x: abs(x),
    "Sign": lambda _, x: 1.0 * (x > 0) - 1.0 * (x < 0),
    "Relu": lambda _, x: x * (x > 0),
    "ThresholdedRelu": _thresholded,
    "LeakyRelu": _leaky,
    "Clip": _clip,
    "Max": _larger,
    "Min": _smaller,
    "Greater": lambda _, a, b: a > b,
    "GreaterOrEqual": lambda _, a, b: a >= b,
    "Less": lambda _, a, b: a < b,
    "LessOrEqual": lambda _, a, b: a <= b,
    "Not": lambda _, x: x == 0,
    "Where": lambda _, condition, a, b: a * (condition != 0) + b * (condition == 0),
    "Cast": _cast,
    "Identity": lambda _, x: x,
}
