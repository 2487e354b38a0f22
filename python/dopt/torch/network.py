"""The quantized network as a whole: its program, its quantizers, and what it remembers for calibration and export."""

import contextlib
import copy
import warnings
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch
from torch import fx, nn

from dopt.plugin.numbers import FloatLayer
from dopt.plugin.refusals import not_quantized
from dopt.torch.layers import QuantizedLayer
from dopt.torch.quantizer import ActivationQuantizer

#: Training steps with gradients after which scales that never moved tell that no optimizer holds them.
PATIENCE = 16


class Plan:
    """What ``prepare`` decided about a network, kept on it as ``dopt_plan``; copied with it, not part of its state."""

    def __init__(self, config: Any, method: str, widths: str, target: str) -> None:
        self.config, self.method, self.widths, self.target = config, method, widths, target
        self.float_layers: List[FloatLayer] = []
        #: Names of products in the graph, with the names of the quantizers of their two inputs.
        self.products: Dict[str, Tuple[str, str]] = {}
        #: Steps with gradients so far, and what the scales were like; -1 when there is no more to find out.
        self.watch: Tuple[int, Tuple[int, ...]] = (0, ())
        #: Arguments and results of the last training step, and the float copy: for distillation.
        self.last: Any = None
        self.teacher: Any = None

    def __deepcopy__(self, memo: Any) -> "Plan":
        """A step's results are not copied: they are no leaves."""
        twin = copy.copy(self)
        twin.last = twin.teacher = None
        return twin


class QuantizedNetwork:
    """Mixed in front of the user's class: the captured program in the place of forward(), where there is one."""

    dopt_plan: Plan

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        trains = self.training and torch.is_grad_enabled()
        if trains:
            self.dopt_plan.last = None
            watch_optimizer(self)
        program = type(self).program
        y = super().forward(*args, **kwargs) if program is None else program(self, *args, **kwargs)
        if trains:
            self.dopt_plan.last = (args, kwargs, y)
        return y


def become_quantized(network: nn.Module, graph: Optional[fx.Graph], plan: Plan) -> None:
    """Gives the network its new program, in place; its class name says that it is quantized."""
    kind = type(network)
    program = None
    if graph is not None:
        graph.lint()
        program = type(fx.GraphModule(network, graph)).forward
    made = type(f"Quantized{kind.__name__}", (QuantizedNetwork, kind), {"program": program})
    network.__class__ = made
    object.__setattr__(network, "dopt_plan", plan)


def quantized_network(model: Any) -> Any:
    """The quantized network in ``model``, out of DataParallel or DistributedDataParallel. Raises DoptError PLUGIN_NOT_QUANTIZED."""
    inner = unwrapped(model)
    if not isinstance(inner, QuantizedNetwork):
        raise not_quantized(type(inner).__name__, "optimize_model() or dopt.torch.prepare()")
    return inner


def is_wrapped(model: Any) -> bool:
    """Whether a model is inside of DataParallel or DistributedDataParallel."""
    return isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))


def unwrapped(model: Any) -> Any:
    """The model inside of DataParallel or DistributedDataParallel."""
    return model.module if is_wrapped(model) else model


def quantizers_of(network: nn.Module) -> List[ActivationQuantizer]:
    """All quantizers of activations, each once."""
    return [module for module in network.modules() if isinstance(module, ActivationQuantizer)]


def layers_in(network: nn.Module) -> List[Any]:
    """All layers with quantized weights, each once."""
    return [module for module in network.modules() if isinstance(module, QuantizedLayer)]


def set_modes(network: nn.Module, mode: str) -> None:
    """``on``, ``off``, ``observe`` or ``export`` for all quantizers."""
    for quantizer in quantizers_of(network):
        quantizer.mode = mode


@contextlib.contextmanager
def float_mode(network: nn.Module) -> Iterator[None]:
    """Within, the network computes in float."""
    modes = [(quantizer, quantizer.mode) for quantizer in quantizers_of(network)]
    set_modes(network, "off")
    try:
        yield
    finally:
        for quantizer, mode in modes:
            quantizer.mode = mode


def watch_optimizer(network: Any) -> None:
    """Warns once when gradients of the scales come and go and nothing ever changes the scales."""
    steps, before = network.dopt_plan.watch
    if steps < 0:
        return
    scales = [parameter for name, parameter in network.named_parameters() if name.endswith("log_scale")]
    if not scales or scales[0].grad is None:
        return
    versions = tuple(scale._version for scale in scales)
    if before and versions != before:
        network.dopt_plan.watch = (-1, ())
        return
    network.dopt_plan.watch = (steps + 1, versions)
    if steps + 1 < PATIENCE:
        return
    network.dopt_plan.watch = (-1, ())
    warnings.warn(
        f"In {PATIENCE} steps of training nothing has changed the quantized network's scales. Was the optimizer built on the"
        " float network? Build it on the quantized one: torch.optim.SGD(quantized.parameters(), ...).",
        stacklevel=3,
    )
