"""The table of symbolic functions, and putting them into torch's exporter for the duration of an export."""

import contextlib
import functools
import importlib
import inspect
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

import torch

from dopt.doors.torch.symbolics.algebra import Tensor

#: What torch itself writes for an operator, for the cases in which ours stands aside.
Original = Callable[[], Any]


class Symbolic(NamedTuple):
    """How an operator is written. ``function`` takes what its annotations say and gives a Tensor or several.

    ``replaces``: it is used although torch has a function of its own; a parameter named ``original`` gets that one.
    """

    function: Callable[..., Any]
    replaces: bool


TABLE: Dict[str, Symbolic] = {}
"""Symbolic functions by the name of the operator, without "aten::"."""


def symbolic(*names: str, replaces: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Puts a function into the table under the names of torch's operators.

    Its parameters are the operator's inputs in their order, each read as its annotation says: Tensor, int, float, bool,
    List[int], List[float] and List[Tensor], or Optional of one of these; Any is handed over as it is. Inputs may be None whatever
    the annotation.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            TABLE[name] = Symbolic(function, replaces)
        return function

    return decorate


@contextlib.contextmanager
def symbolics(opset: int) -> Iterator[None]:
    """Lets torch's exporter use the table at ``opset``, where it lacks an operator or ours replaces its own."""
    converted, registered = _Converted(), {}
    for name, entry in TABLE.items():
        original = _of_torch(name, opset)
        if original is None or entry.replaces:
            torch.onnx.register_custom_op_symbolic(f"::{name}", _for_torch(name, entry, original, converted), opset)
            registered[name] = original
    try:
        with converted.watched():
            yield
    finally:
        for name, original in registered.items():
            torch.onnx.unregister_custom_op_symbolic(f"::{name}", opset)
            if original is not None and _of_torch(name, opset) is not original:
                # PyTorch 1.11 forgets its own as well, and every one that of a user's program.
                torch.onnx.register_custom_op_symbolic(f"::{name}", original, opset)


class _Converted:
    """The node of the traced graph that is being converted. Since 1.13 the graph that a symbolic function gets knows it; before,
    it is seen on its way to the function."""

    def __init__(self) -> None:
        self._node: Any = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        run = getattr(torch.onnx.utils, "_run_symbolic_function", None)
        if run is None:
            yield
            return

        @functools.wraps(run)
        def seen(graph: Any, block: Any, node: Any, *rest: Any, **more: Any) -> Any:
            self._node = node
            return run(graph, block, node, *rest, **more)

        torch.onnx.utils._run_symbolic_function = seen
        try:
            yield
        finally:
            torch.onnx.utils._run_symbolic_function = run

    def inputs(self, graph: Any) -> List[Any]:
        return list(getattr(graph, "original_node", self._node).inputs())


def _of_torch(name: str, opset: int) -> Optional[Callable[..., Any]]:
    """What torch has for an operator. PyTorch has changed the place of its registry twice."""
    for place in ("torch.onnx._internal.torchscript_exporter.registration", "torch.onnx._internal.registration"):
        with contextlib.suppress(ImportError):
            group = importlib.import_module(place).registry.get_function_group(f"aten::{name}")
            return group.get(opset) if group is not None else None
    from torch.onnx import symbolic_registry

    symbolic_registry.register_version("", opset)
    return symbolic_registry.get_registered_op(name, "", opset) if symbolic_registry.is_registered_op(name, "", opset) else None


def _for_torch(
    name: str, entry: Symbolic, original: Optional[Callable[..., Any]], converted: _Converted
) -> Callable[..., Any]:
    """A symbolic function as torch calls it: on a graph and raw values."""
    parameters = list(inspect.signature(entry.function).parameters.values())
    stands_aside = parameters[-1].name == "original"
    parameters = parameters[: len(parameters) - stands_aside]

    # No annotations: PyTorch 1.13 takes the first one for a class that it compares with its own.
    def called(graph, *inputs, **attributes):
        if len(inputs) > len(parameters):
            raise RuntimeError(f"Exporting the operator {name} with {len(inputs)} inputs is not supported.")
        try:
            traced = converted.inputs(graph)
            read = [_READERS[each.annotation](graph, *pair) for each, *pair in zip(parameters, inputs, traced)]
            more = {"original": functools.partial(original, graph, *inputs, **attributes)} if stands_aside else {}
            found = entry.function(*read, **more)
        except RuntimeError as error:
            if original is not None:
                return original(graph, *inputs, **attributes)  # Better than nothing: both forms are compared behind the export.
            raise RuntimeError(f"Exporting the operator {name} is not supported: {error}") from error
        return tuple(_raw(each) for each in found) if isinstance(found, (tuple, list)) else _raw(found)

    return called


def _raw(found: Any) -> Any:
    return found.value if isinstance(found, Tensor) else found


#: Reads an input as an annotation wants it: from the graph under construction, the converted value and the one that was traced.
Reader = Callable[[Any, Any, Any], Any]


def _is_none(value: Any) -> bool:
    return value is None or (hasattr(value, "node") and value.node().mustBeNone())


def held(value: Any) -> Any:
    """The tensor of a constant. Raises RuntimeError for anything else."""
    if value.node().kind() != "onnx::Constant":
        raise RuntimeError("with a value that is computed where a number is wanted")
    node = value.node()
    return node.t("value") if node.kindOf("value") == "t" else torch.zeros(0)  # An empty list has no tensor.


def _number(kind: Callable[[Any], Any]) -> Reader:
    return lambda _graph, value, _traced: None if _is_none(value) else kind(held(value))


def _tensor(graph: Any, value: Any, traced: Any) -> Optional[Tensor]:
    return None if _is_none(value) else Tensor(graph, value, traced=traced.type())


def _numbers(_graph: Any, value: Any, _traced: Any) -> Optional[List[int]]:
    if _is_none(value):
        return None
    if value.node().kind() == "prim::ListConstruct":
        return [int(held(each)) for each in value.node().inputs()]
    return [int(each) for each in held(value).reshape(-1)]


def _fractions(_graph: Any, value: Any, _traced: Any) -> Optional[List[float]]:
    if _is_none(value):
        return None
    if value.node().kind() == "prim::ListConstruct":
        return [float(held(each)) for each in value.node().inputs()]
    return [float(each) for each in held(value)]


def _tensors(graph: Any, value: Any, traced: Any) -> List[Tensor]:
    if value.node().kind() != "prim::ListConstruct":
        raise RuntimeError("of a list that is computed")
    pairs = zip(value.node().inputs(), traced.node().inputs())
    return [Tensor(graph, each, traced=before.type()) for each, before in pairs]


_READERS: Dict[Any, Reader] = {
    Tensor: _tensor,
    Optional[Tensor]: _tensor,
    int: _number(int),
    Optional[int]: _number(int),
    float: _number(float),
    Optional[float]: _number(float),
    bool: _number(bool),
    List[int]: _numbers,
    List[float]: _fractions,
    Optional[List[int]]: _numbers,
    Optional[List[float]]: _fractions,
    List[Tensor]: _tensors,
    Any: lambda _graph, value, _traced: value,
}
