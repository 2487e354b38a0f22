"""Calibration: counting what every quantizer sees, then ranges and scales; batch statistics estimated anew."""

import contextlib
from typing import Any, Callable, Iterable, Iterator, List

import torch
from torch import nn

from dopt.plugin.refusals import nothing_seen
from dopt.torch.layers import FoldedNorm
from dopt.torch.network import layers_in, quantized_network, quantizers_of, set_modes, unwrapped


def begin_calibration(model: nn.Module) -> None:
    """From now on the network computes in float, and quantizers count what they see, from nothing."""
    from dopt import native

    network = quantized_network(model)
    quantizers = quantizers_of(network)
    histograms = native.load().histograms(max(len(quantizers), 1))
    for index, quantizer in enumerate(quantizers):
        quantizer.histograms, quantizer.index = histograms, index
        quantizer.samples.zero_()
        quantizer.mode = "observe"


def end_calibration(model: nn.Module) -> None:
    """Ranges from what was seen, scales from the weights as they are; the network computes quantized.

    Raises DoptError PLUGIN_NO_CALIBRATION when nothing was seen.
    """
    network = quantized_network(model)
    quantizers = quantizers_of(network)
    if not any(quantizer.mode == "observe" for quantizer in quantizers):
        set_modes(network, "on")
        return
    unseen = [quantizer.name for quantizer in quantizers if not quantizer.fixed and not int(quantizer.samples)]
    if unseen and len(unseen) == sum(not quantizer.fixed for quantizer in quantizers):
        raise nothing_seen("set_calibrate_state(net, True) and (net, False)")
    for quantizer in quantizers:
        quantizer.finish()
        quantizer.histograms, quantizer.mode = None, "on"
    for layer in layers_in(network):
        layer.calibrate()


def run_batches(network: nn.Module, batches: Iterable[Any], forward: Callable[[nn.Module, Any], Any]) -> int:
    """Feeds batches without gradients; returns how many."""
    count = 0
    with torch.no_grad():
        for batch in batches:
            forward(network, batch)
            count += 1
    return count


def feed(network: nn.Module, batch: Any) -> Any:
    """A batch as data loaders give it: a tensor, a dict of arguments, or a list that begins with the input."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    if isinstance(batch, dict):
        return network(**{name: _to(value, device) for name, value in batch.items()})
    if isinstance(batch, (list, tuple)):
        inputs = getattr(unwrapped(network).dopt_plan.config, "inputs", {})
        return network(*(_to(value, device) for value in batch[: max(len(inputs), 1)]))
    return network(_to(batch, device))


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


@contextlib.contextmanager
def evaluation(network: nn.Module) -> Iterator[None]:
    """Within, every module is in evaluation mode; afterwards each in its own again."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def reestimate_statistics(model: nn.Module, batches: Iterable[Any], forward: Callable[[nn.Module, Any], Any] = feed) -> int:
    """Running statistics of folded batch normalizations from scratch, as the rounded network sees the data.

    Plain means over the batches, as at the end of training in Krishnamoorthi, arXiv:1806.08342, section 3.2.2: frozen
    statistics were those of weights that have moved since. Returns the number of batches.
    """
    network = quantized_network(model)
    norms: List[Any] = [module for module in network.modules() if isinstance(module, FoldedNorm)]
    layers = [layer for layer in layers_in(network) if layer.norm is not None]
    kept = [(norm, norm.momentum) for norm in norms]
    with evaluation(network):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        steps = [(layer, layer.norm_steps.clone()) for layer in layers]
        for layer in layers:
            layer.training = True
            layer.norm_steps.zero_()
            layer.warm_up, layer.kept_warm_up = 1 << 40, layer.warm_up
        try:
            return run_batches(network, batches, forward)
        finally:
            for layer, step in steps:
                layer.norm_steps.copy_(step)
                layer.warm_up = layer.kept_warm_up
            for norm, momentum in kept:
                norm.momentum = momentum
