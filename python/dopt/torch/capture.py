"""The program of a network as a torch.fx graph; parts that cannot be captured stay as they are, and are listed."""

import inspect
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as functional
from torch import fx, nn

from dopt.errors import in_a_line
from dopt.torch.attention import captured_attention
from dopt.torch.builtins import captured_builtins, captured_unpacking

#: Modules of torch that are programs of others: looked into, where all others are taken as one operator.
_COMPOSITE = (nn.Sequential, nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder) + (
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)
_DROPOUTS = {functional.dropout: nn.Dropout, functional.dropout2d: nn.Dropout2d, functional.dropout3d: nn.Dropout3d}
_DROPOUTS[functional.alpha_dropout] = nn.AlphaDropout
_DROPOUTS[torch.dropout] = nn.Dropout


class Captured(NamedTuple):
    """``graph``: the program of the network, None where the network as a whole could not be captured.

    ``opaque``: modules that the graph calls as they are, with the reason. With no graph its one key is ''.
    """

    graph: Optional[fx.Graph]
    opaque: Dict[str, str]


def capture(network: nn.Module, input_names: Sequence[str]) -> Captured:
    """Traces the network, with its forward arguments in the order of ``input_names``; other arguments keep their defaults.

    A module whose program depends on values, or differs between training and evaluation (dropout apart), becomes opaque,
    and tracing starts again. The network is left in the mode it was in.
    """
    training = [(module, module.training) for module in network.modules()]
    opaque: Dict[str, str] = {}
    try:
        while True:
            try:
                with captured_attention(), captured_builtins(), captured_unpacking():
                    graphs = [_trace(network, input_names, opaque, mode) for mode in (True, False)]
            except _Refused as refused:
                path, reason = refused.args
            else:
                path, reason = _difference(*graphs) or (None, None)
                if path is None:
                    _dropouts_as_modules(network, graphs[0])
                    return Captured(graphs[0], opaque)
            if path == "" or path in opaque:
                return Captured(None, {"": reason})
            opaque[path] = reason
    finally:
        for module, mode in training:
            module.training = mode


class _Refused(Exception):
    """Path of the module whose program cannot be captured, and why."""


class _Tracer(fx.Tracer):
    def __init__(self, names: Sequence[str], opaque: Dict[str, str]) -> None:
        super().__init__()
        self.names, self.opaque = names, opaque
        self.within: List[str] = [""]
        self.culprit: Optional[str] = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.opaque:
            return True
        if isinstance(m, _COMPOSITE) or getattr(m, "is_composed", False):
            return False
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
        path = self.path_of_module(m)
        if self.is_leaf_module(m, path):
            return super().call_module(m, forward, args, kwargs)
        self.within.append(path)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.culprit = self.culprit or self.within[-1]
            raise
        finally:
            self.within.pop()

    def create_node(self, kind: str, target: Any, args: Any, kwargs: Any, name: Any = None, type_expr: Any = None) -> Any:
        if kind == "call_function" and target in _DROPOUTS:
            # What the module's mode was while tracing must not become part of the program.
            p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
            args, kwargs = (args[0] if args else kwargs["input"],), {"p": p, "training": True}
        node = super().create_node(kind, target, args, kwargs, name, type_expr)
        node.meta["within"] = self.within[-1]
        return node

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        def forward(module: Any, *values: Any) -> Any:
            return root_fn(module, **dict(zip(self.names, values)))

        proxies = [self.create_proxy("placeholder", name, (), {}) for name in self.names]
        return forward, [self.root, *proxies]


def _trace(network: nn.Module, names: Sequence[str], opaque: Dict[str, str], training: bool) -> fx.Graph:
    network.train(training)
    tracer = _Tracer(names, opaque)
    try:
        return tracer.trace(network)
    except Exception as error:  # noqa: BLE001 - the user's program may raise anything.
        text = in_a_line(error, 200)
        raise _Refused(tracer.culprit or "", text) from error


def _difference(trained: fx.Graph, evaluated: fx.Graph) -> Optional[Tuple[str, str]]:
    """The module to which the first difference of two graphs belongs."""
    ours, theirs = list(trained.nodes), list(evaluated.nodes)
    for a, b in zip(ours, theirs):
        if (a.op, a.target, str(a.args), str(a.kwargs)) != (b.op, b.target, str(b.args), str(b.kwargs)):
            return a.meta.get("within", ""), "it computes something else in training than in evaluation"
    return None if len(ours) == len(theirs) else ("", "it computes something else in training than in evaluation")


def _dropouts_as_modules(network: nn.Module, graph: fx.Graph) -> None:
    """Dropout functions follow the mode of the network when they are modules."""
    for node in [node for node in graph.nodes if node.op == "call_function" and node.target in _DROPOUTS]:
        network.add_module(node.name, _DROPOUTS[node.target](node.kwargs["p"]))
        node.op, node.target, node.kwargs = "call_module", node.name, {}


def argument_names(network: nn.Module, inputs: Sequence[str]) -> List[str]:
    """The arguments of forward() that the inputs of the settings are: by name where all are arguments, else in order."""
    from dopt.errors import DoptError

    parameters = list(inspect.signature(network.forward).parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [parameter for parameter in parameters if parameter.kind in kinds]
    names = [parameter.name for parameter in named]
    if all(name in names for name in inputs):
        return list(inputs)
    needed = [parameter.name for parameter in named if parameter.default is inspect.Parameter.empty]
    if len(needed) <= len(inputs) <= len(names):
        return names[: len(inputs)]
    raise DoptError(
        "PLUGIN_INPUTS",
        f"forward() of {type(network).__name__} takes {', '.join(names) or 'nothing'}, not {', '.join(inputs)}.",
        suggestions=["Name the arguments of forward() in input_shape, in their order."],
    )
