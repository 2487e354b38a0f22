"""The functions of ``dopt.torch``."""

import itertools
import os
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Union

from torch import nn

from dopt.plugin.choice import settings
from dopt.plugin.config import LayerName, parse_shapes, write_config
from dopt.plugin.folder import Written
from dopt.plugin.numbers import FloatLayer, layers_by_name
from dopt.plugin.strategies import DEFAULT_STRATEGY
from dopt.torch.calibration import begin_calibration, end_calibration, evaluation, feed, reestimate_statistics, run_batches
from dopt.torch.export import write
from dopt.torch.network import layers_in, quantized_network
from dopt.torch.build import build, capture_copy

Forward = Callable[[nn.Module, Any], Any]


def prepare(
    network: nn.Module,
    inputs: str,
    strategies: Union[str, Mapping[str, str]] = DEFAULT_STRATEGY,
    quantizer: str = "lsq",
    params_version: str = "v2",
    batch_norm_warm_up: Optional[int] = None,
) -> nn.Module:
    """A quantized copy of a float network, to be calibrated or trained.

    inputs: shapes of deployment by forward() argument, ``"x:1,3,224,224;mask:1,224"``, or the path of a settings file.
    strategies: Quant_INT8-8, Quant_INT16-8, Quant_INT8-4 or float, for all layers or by layer name and pattern. Not read
        when a settings file is given.
    quantizer: how activation ranges follow training: ``lsq`` learned scale and zero point, ``pact`` learned clip,
        ``ema`` running mean of the extremes.
    params_version: v2, or v1 for chips before Kirin 9020.
    batch_norm_warm_up: training steps before statistics are frozen; 50 unless given.
    Raises DoptError for what cannot be quantized, with the reason and what to do.
    """
    quantized = build(network, settings(inputs, strategies, params_version), quantizer)
    if batch_norm_warm_up is not None:
        for layer in layers_in(quantized):
            layer.warm_up = batch_norm_warm_up
    return quantized


def calibrate(quantized: nn.Module, data: Iterable[Any], batches: Optional[int] = None, forward: Forward = feed) -> int:
    """Sets every range from batches of a data loader; returns how many batches there were.

    data: tensors, dicts of arguments, or lists that begin with the inputs; ``forward(network, batch)`` for others.
    batches: no more than this many are taken.
    """
    begin_calibration(quantized)
    with evaluation(quantized):
        count = run_batches(quantized, itertools.islice(data, batches), forward)
    end_calibration(quantized)
    return count


def reestimate(quantized: nn.Module, data: Iterable[Any], batches: Optional[int] = None, forward: Forward = feed) -> int:
    """Estimates the statistics of folded batch normalizations anew, at the end of training; returns the batches used."""
    return reestimate_statistics(quantized, itertools.islice(data, batches), forward)


def convert(quantized: nn.Module, out: str, name: Optional[str] = None) -> Written:
    """Writes NAME.int8.onnx, quant_params.json, plan.json, result.json and manifest.json into ``out``."""
    return write(quantized, os.fspath(out), name)


def layers(quantized: nn.Module) -> Dict[str, Union[str, FloatLayer]]:
    """What became of every layer by name: its widths, or a FloatLayer with the reason why it stays float."""
    network = quantized_network(quantized)
    widths = [(layer.path, layer.quantizer.grid.bits, layer.bits) for layer in layers_in(network)]
    return layers_by_name(widths, network.dopt_plan.products, network.dopt_plan.float_layers)


def write_settings(
    network: nn.Module, inputs: str, path: str, strategy: str = DEFAULT_STRATEGY, params_version: str = "v2"
) -> List[LayerName]:
    """Writes a settings file with one strategy for every layer of a float network; returns the layers."""
    _, _, found = capture_copy(network, list(parse_shapes(inputs)))
    names = [layer.name for layer in found]
    write_config(path, names, inputs, strategy, params_version)
    return names
