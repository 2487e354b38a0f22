"""Numbers in a graph that would crash native code, checked in Python before any native code sees them.

Shape inference of onnx divides by strides and groups without looking and multiplies sizes without a limit: a division by
zero there ends the process, and no exception handler would see it. What slips through is caught by ``dopt.isolation``,
but then nobody can say which node it was.
"""

from typing import Any, Iterable, Optional

from dopt.capture.network import Network, all_graphs

#: Largest size of one dimension, and of window, stride and padding numbers, that is still believable.
SIZE_LIMIT = 1 << 31
RANK_LIMIT = 32
#: Integer attributes that must be at least this, whatever the operator.
_AT_LEAST = {"strides": 1, "dilations": 1, "kernel_shape": 1, "group": 1, "blocksize": 1, "num_outputs": 1, "num_groups": 1}
#: Integer attributes that may be anything within the limit: negative ones crop, or count from the end.
_LIMITED = {"pads", "output_padding", "output_shape", "axis", "axes", "split", "perm", "batch_dims", "start", "end_axis"}


def check_numbers(network: Network) -> None:
    """Raises DoptError MODEL_INVALID for the first number that no working model has."""
    for graph in all_graphs(network.graph):
        for value in [*graph.input, *graph.output, *graph.value_info]:
            problem = _type_problem(value)
            if problem:
                raise _error(network, f"tensor {value.name!r} {problem}")
        for node in graph.node:
            if node.domain:
                continue
            for item in node.attribute:
                problem = _attribute_problem(item)
                if problem:
                    raise _error(network, f"node {node.name or node.output[:1]!r} ({node.op_type}) has {item.name} {problem}")
    for name, weight in network.weights.items():
        if weight.array.ndim > RANK_LIMIT:
            raise _error(network, f"tensor {name!r} has {weight.array.ndim} dimensions")


def _type_problem(value: Any) -> Optional[str]:
    shape = value.type.tensor_type.shape
    if len(shape.dim) > RANK_LIMIT:
        return f"has {len(shape.dim)} dimensions"
    sizes = [dim.dim_value for dim in shape.dim]
    # 0 and -1 are how some exporters write an open size.
    wrong = [size for size in sizes if not -1 <= size < SIZE_LIMIT]
    return f"has a size of {wrong[0]}" if wrong else None


def _attribute_problem(item: Any) -> Optional[str]:
    numbers: Iterable[int] = item.ints or [item.i]
    least = _AT_LEAST.get(item.name)
    for number in numbers:
        if least is not None and number < least:
            return f"{number}; at least {least} is needed"
        if (least is not None or item.name in _LIMITED) and abs(number) >= SIZE_LIMIT:
            return f"{number}, which is out of all proportion"
    return None


def _error(network: Network, problem: str) -> Any:
    return network.error("MODEL_INVALID", f"{problem}.")
