"""What can be quantized in a captured network: its layers, its products of activations, and what stays float."""

import operator
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as functional
from torch import fx, nn

from dopt.plugin.config import LayerName
from dopt.plugin.numbers import FloatLayer
from dopt.torch.capture import Captured
from dopt.torch.layers import LAYER_TYPES

_SUFFIXES = {"Conv1d": "Conv1D", "Conv2d": "Conv2D", "Conv3d": "Conv3D"}
_SUFFIXES.update({f"ConvTranspose{n}d": f"Conv{n}DTranspose" for n in (1, 2, 3)})

_PRODUCTS = {torch.matmul, torch.bmm, operator.matmul, torch.Tensor.matmul, "matmul", "bmm", "__matmul__"}
#: Functions with a weight among their arguments: the module that does the same, and the arguments behind the bias.
_CONVOLUTION = ("stride", "padding", "dilation", "groups")
_FUNCTIONS: Dict[Any, Tuple[str, Tuple[str, ...]]] = {functional.linear: ("Linear", ())}
for _owner in (functional, torch):
    for _n in (1, 2, 3):
        _FUNCTIONS[getattr(_owner, f"conv{_n}d")] = (f"Conv{_n}d", _CONVOLUTION)
#: Other functions that multiply with weights or activations and are not quantized.
_UNQUANTIZED = {torch.einsum, torch.addmm, torch.baddbmm, torch.tensordot, "addmm", "baddbmm", torch.mm, "mm"}
for _n in (1, 2, 3):
    _UNQUANTIZED |= {getattr(functional, f"conv_transpose{_n}d"), getattr(torch, f"conv_transpose{_n}d")}
_WEIGHTED_MODULES = (nn.LSTM, nn.GRU, nn.RNN, nn.MultiheadAttention, nn.Bilinear)


class Layer(NamedTuple):
    """A layer or product. ``nodes``: its calls in the graph; empty for a module inside of an opaque one."""

    name: LayerName
    module: Optional[nn.Module]
    nodes: List[fx.Node]


def layers_of(network: nn.Module, captured: Captured) -> List[Layer]:
    """Everything that can be quantized, in the order of the program; functions with weights become modules on the way."""
    if captured.graph is None:
        return [_inside(path, module) for path, module in network.named_modules() if _is_layer(network, path, module)]
    _functions_as_modules(network, captured.graph)
    found: Dict[str, Layer] = {}
    modules = dict(network.named_modules())
    for node in captured.graph.nodes:
        if node.op == "call_module":
            for layer in _called(network, modules, node, captured.opaque):
                known = found.setdefault(layer.name.path, layer)
                if known is not layer:
                    known.nodes.extend(layer.nodes)
        elif _is_product(network, node):
            found[node.name] = Layer(LayerName(node.name, "MatMul", "MatMul"), None, [node])
    return list(found.values())


def left_float(network: nn.Module, captured: Captured) -> List[FloatLayer]:
    """What multiplies with weights and is not quantized, by name, with the reason; and what could not be captured."""
    left = []
    for path, reason in captured.opaque.items():
        name = path or type(network).__name__
        kind = type(network.get_submodule(path)).__name__
        why = f"its program cannot be captured ({reason}); layers inside are quantized one by one, functions are not"
        left.append(FloatLayer(name, kind, why))
    for node in captured.graph.nodes if captured.graph else []:
        called = node.op in ("call_function", "call_method")
        product = node.target in _PRODUCTS and not _is_product(network, node)
        if called and (product or node.target in _UNQUANTIZED or node.target in _FUNCTIONS):
            left.append(FloatLayer(node.name, _title(node), "no quantized form of this function"))
    for path, module in network.named_modules():
        if isinstance(module, _WEIGHTED_MODULES) and not getattr(module, "is_composed", False):
            left.append(FloatLayer(path, type(module).__name__, "no quantized form of this module"))
        elif isinstance(module, LAYER_TYPES) and not _is_plain(module):
            left.append(FloatLayer(path, type(module).__name__, "its forward() is not that of torch"))
    return left


def _called(network: nn.Module, modules: Dict[str, nn.Module], node: fx.Node, opaque: Dict[str, str]) -> List[Layer]:
    path, module = node.target, modules[node.target]
    if path not in opaque:
        if not node.args and "input" in node.kwargs:
            node.args, node.kwargs = (node.kwargs["input"],), {}
        return [_inside(path, module, [node])] if _is_layer(network, path, module) else []
    inner = [(f"{path}.{inside}", each) for inside, each in module.named_modules() if inside]
    return [_inside(name, each) for name, each in inner if _is_layer(network, name, each)]


def _inside(path: str, module: nn.Module, nodes: Optional[List[fx.Node]] = None) -> Layer:
    kind = next(base.__name__ for base in LAYER_TYPES if isinstance(module, base))
    return Layer(LayerName(path, kind, _SUFFIXES.get(kind, kind)), module, nodes or [])


def _is_layer(network: nn.Module, path: str, module: nn.Module) -> bool:
    if not isinstance(module, LAYER_TYPES) or not _is_plain(module):
        return False
    # nn.MultiheadAttention computes with the weights of its parts and never calls them.
    owner = network.get_submodule(path.rpartition(".")[0])
    return not isinstance(owner, nn.MultiheadAttention) or getattr(owner, "is_composed", False)


def _is_plain(module: nn.Module) -> bool:
    return any(type(module).forward is base.forward for base in LAYER_TYPES if isinstance(module, base))


def _is_product(network: nn.Module, node: fx.Node) -> bool:
    if node.op not in ("call_function", "call_method") or node.target not in _PRODUCTS:
        return False
    return len(node.args) == 2 and not _takes_weight(network, node)


def _takes_weight(network: nn.Module, node: fx.Node) -> bool:
    """Whether a product reads a parameter of the network as it is."""
    if node.target not in _PRODUCTS and node.target not in _FUNCTIONS:
        return False
    return any(isinstance(each, fx.Node) and each.op == "get_attr" for each in node.args[:2])


def _title(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def _functions_as_modules(network: nn.Module, graph: fx.Graph) -> None:
    """F.linear and F.conv2d with a parameter as their weight become modules that share it."""
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in _FUNCTIONS:
            continue
        kind, more = _FUNCTIONS[node.target]
        given = dict(zip(("input", "weight", "bias", *more), node.args))
        given.update(node.kwargs)
        weight, bias = (_parameter(network, given.get(name)) for name in ("weight", "bias"))
        settings = {name: given[name] for name in more if name in given}
        if weight is None or (bias is None and given.get("bias") is not None) or _has_nodes(settings):
            continue
        network.add_module(node.name, _module(kind, weight, bias, settings))
        node.op, node.target, node.args, node.kwargs = "call_module", node.name, (given["input"],), {}
    for node in reversed(list(graph.nodes)):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)


def _has_nodes(settings: Dict[str, Any]) -> bool:
    return any(isinstance(each, fx.Node) for value in settings.values() for each in (value if isinstance(value, tuple) else (value,)))


def _parameter(network: nn.Module, node: Any) -> Optional[nn.Parameter]:
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    owner, _, name = node.target.rpartition(".")
    found = getattr(network.get_submodule(owner), name)
    return found if isinstance(found, nn.Parameter) else None


def _module(kind: str, weight: nn.Parameter, bias: Optional[nn.Parameter], settings: Dict[str, Any]) -> nn.Module:
    if kind == "Linear":
        module: nn.Module = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    else:
        groups = settings.get("groups", 1)
        sizes = (weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]))
        module = getattr(nn, kind)(*sizes, bias=False, **settings)
    module.weight, module.bias = weight, bias
    return module
