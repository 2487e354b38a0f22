"""From a float network and settings to a quantized network: captured, its layers exchanged, its quantizers placed.

Quantizers stand where the command line's plan puts them for Kirin targets: at the inputs of layers and products, one a
tensor; sums, concatenations and functions in between read values before rounding (docs/decisions/001).
"""

import copy
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as functional
from torch import fx, nn

from dopt.errors import DoptError
from dopt.plugin.choice import choose
from dopt.plugin.config import PluginConfig
from dopt.plugin.refusals import quantized_already
from dopt.plugin.strategies import Grid, Scheme
from dopt.torch.attention import compose_attention
from dopt.torch.capture import Captured, argument_names, capture
from dopt.torch.layers import NORM_TYPES, can_fold, quantize_layer
from dopt.torch.network import Plan, QuantizedNetwork, become_quantized, is_wrapped
from dopt.torch.quantizer import ActivationQuantizer
from dopt.torch.structure import Layer, layers_of, left_float

#: Bounds that a function itself sets to its results.
_SOFTMAX = {torch.softmax, functional.softmax, "softmax", nn.Softmax}
_UNIT = {torch.sigmoid, functional.sigmoid, functional.hardsigmoid, "sigmoid", nn.Sigmoid, nn.Hardsigmoid}
_TANH = {torch.tanh, functional.tanh, "tanh", nn.Tanh}


def capture_copy(model: nn.Module, inputs: Sequence[str]) -> Tuple[nn.Module, Captured, List[Layer]]:
    """A copy of the model, attention written out, with its graph and layers."""
    check_float(model)
    network = copy.deepcopy(model)
    compose_attention(network)
    captured = capture(network, argument_names(network, inputs))
    return network, captured, layers_of(network, captured)


def check_float(model: Any) -> None:
    """Raises DoptError for what is no float network of the user's: wrapped for several devices, or quantized already."""
    if is_wrapped(model):
        raise DoptError(
            "PLUGIN_WRAPPED",
            f"The model is inside of {type(model).__name__}.",
            found=type(model).__name__,
            suggestions=[f"Quantize the model itself first, then wrap the result: {type(model).__name__}(optimize_model(model, ...))"],
        )
    if isinstance(model, QuantizedNetwork):
        raise quantized_already(type(model).__name__)
    if not isinstance(model, nn.Module):
        raise DoptError("PLUGIN_MODEL", f"A torch.nn.Module is wanted, not {type(model).__name__}.", found=type(model).__name__)


def build(model: nn.Module, config: PluginConfig, method: str = "lsq") -> Any:
    """The quantized network; the model stays as it is. Raises DoptError for settings that do not fit it."""
    network, captured, layers = capture_copy(model, list(config.inputs))
    choice = choose(config, [layer.name for layer in layers], method)
    plan = Plan(config, method, choice.widths, choice.target)
    plan.float_layers = left_float(network, captured) + choice.float_layers
    chosen = [(layer, choice.schemes[layer.name.path]) for layer in layers if layer.name.path in choice.schemes]
    _Placement(network, captured, plan).place(chosen)
    become_quantized(network, captured.graph, plan)
    return network


class _Placement:
    """Puts quantizers in front of layers and products."""

    def __init__(self, network: nn.Module, captured: Captured, plan: Plan) -> None:
        self.network, self.graph, self.plan = network, captured.graph, plan
        self.modules = dict(network.named_modules())
        self.quantizers: Dict[Tuple[fx.Node, Grid], fx.Node] = {}
        self.by_node: Dict[str, ActivationQuantizer] = {}
        network.input_quantizers = nn.ModuleDict()

    def place(self, layers: List[Tuple[Layer, Scheme]]) -> None:
        """All layers, in the order of the program: first what each reads, then the layers themselves."""
        for layer, scheme in layers:
            readers = [layer.name.path] if layer.module is not None else [f"{layer.name.path}.{side}" for side in (0, 1)]
            reads = [self._read(node, at, reader, scheme) for node in layer.nodes for at, reader in enumerate(readers)]
            if layer.module is not None:
                # Called several times, a layer still has one bias, at one input scale times the weight's.
                self._merge(reads)
        for layer, scheme in layers:
            if layer.module is None:
                self.plan.products[layer.name.path] = tuple(self._quantizer(layer.nodes[0], side).name for side in (0, 1))
            elif layer.nodes:
                self._exchange(layer, scheme, self._quantizer(layer.nodes[0], 0), owns=False)
            else:
                alone = ActivationQuantizer(layer.name.path, scheme.activation, self.plan.method)
                self._exchange(layer, scheme, alone, owns=True)
        self.network.input_quantizers.to(next(self.network.parameters(), torch.zeros(())).device)

    def _exchange(self, layer: Layer, scheme: Scheme, quantizer: ActivationQuantizer, owns: bool) -> None:
        # Chips before Kirin 9020 have one weight scale for a fully connected layer.
        per_channel = layer.name.op_type != "Linear" or self.plan.config.params_version == "v2"
        quantizer.to(layer.module.weight.device)
        quantize_layer(layer.module, layer.name.path, scheme.weight.bits, per_channel, quantizer, owns)
        norm = self._norm_behind(layer)
        if norm is not None and can_fold(layer.module, norm, per_channel):
            layer.module.adopt(norm)

    def _quantizer(self, node: fx.Node, index: int) -> ActivationQuantizer:
        """The quantizer of a node's argument."""
        return self.network.input_quantizers[node.args[index].target.partition(".")[2]]

    def _read(self, node: fx.Node, index: int, reader: str, scheme: Scheme) -> ActivationQuantizer:
        """Lets an argument of a node read the rounded form of what it reads; tensors share a quantizer."""
        source = node.args[index]
        key = (source, scheme.activation)
        if key not in self.quantizers:
            name = source.name if source.name not in self.by_node else f"{source.name}_{scheme.activation.bits}"
            quantizer = ActivationQuantizer(reader, scheme.activation, self.plan.method, self._fixed(source))
            self.network.input_quantizers[name] = self.by_node[name] = quantizer
            with self.graph.inserting_before(source.next if source.op != "placeholder" else self._first()):
                self.quantizers[key] = self.graph.call_module(f"input_quantizers.{name}", (source,))
        quantized = self.quantizers[key]
        node.args = tuple(quantized if at == index else argument for at, argument in enumerate(node.args))
        return self.by_node[quantized.target.partition(".")[2]]

    def _first(self) -> fx.Node:
        return next(node for node in self.graph.nodes if node.op != "placeholder")

    def _merge(self, reads: List[ActivationQuantizer]) -> None:
        """The first quantizer takes the place of the others, wherever they are read."""
        if all(quantizer is reads[0] for quantizer in reads):
            return
        reads[0].fixed = None
        for name, quantizer in list(self.by_node.items()):
            if any(quantizer is other for other in reads[1:]):
                self.network.input_quantizers[name] = self.by_node[name] = reads[0]

    def _norm_behind(self, layer: Layer) -> Optional[nn.Module]:
        """The batch normalization that alone reads the result of a layer; both are called once."""
        if len(layer.nodes) != 1 or len(layer.nodes[0].users) != 1:
            return None
        (user,) = layer.nodes[0].users
        norm = self.modules.get(user.target) if user.op == "call_module" else None
        calls = [node for node in self.graph.nodes if node.op == "call_module" and self.modules.get(node.target) is norm]
        return norm if isinstance(norm, NORM_TYPES) and len(calls) == 1 else None

    def _fixed(self, source: fx.Node) -> Optional[Tuple[float, float]]:
        kind = type(self.modules[source.target]) if source.op == "call_module" else source.target
        if source.op == "placeholder" or source.op == "get_attr":
            return None
        if kind in _SOFTMAX or kind in _UNIT:
            return 0.0, 1.0
        return (-1.0, 1.0) if kind in _TANH else None


