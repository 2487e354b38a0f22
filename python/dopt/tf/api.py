"""The functions of ``dopt.tf``."""

import itertools
import os
from typing import Any, Dict, Iterable, List, Mapping, Optional, Union

from dopt.plugin.choice import settings
from dopt.plugin.config import LayerName, parse_shapes, write_config
from dopt.plugin.numbers import FloatLayer, layers_by_name
from dopt.plugin.strategies import DEFAULT_STRATEGY
from dopt.tf.build import build, check_float
from dopt.tf.calibration import Forward, begin_calibration, end_calibration, feed, reestimate_statistics, run_batches
from dopt.tf.capture import capture
from dopt.tf.export import TensorflowWritten, write
from dopt.tf.network import QuantizedModel, layers_in, quantized_model
from dopt.tf.structure import layers_of


def prepare(
    model: Any,
    inputs: str,
    strategies: Union[str, Mapping[str, str]] = DEFAULT_STRATEGY,
    quantizer: str = "lsq",
    params_version: str = "v2",
    batch_norm_warm_up: Optional[int] = None,
) -> QuantizedModel:
    """A quantized copy of a float Keras model, to be calibrated or trained; to be compiled anew by the user.

    inputs: shapes of deployment by input, ``"x:1,224,224,3;mask:1,224"``, or the path of a settings file.
    strategies: Quant_INT8-8, Quant_INT16-8, Quant_INT8-4 or float, for all layers or by layer name and pattern. Not read
        when a settings file is given.
    quantizer: how activation ranges follow training: ``lsq`` learned scale and zero point, ``pact`` learned clip,
        ``ema`` running mean of the extremes.
    params_version: v2, or v1 for chips before Kirin 9020.
    batch_norm_warm_up: training steps before statistics are frozen; 50 unless given.
    Call it within strategy.scope() for tf.distribute. Raises DoptError for what cannot be quantized, with the reason.
    """
    return build(model, settings(inputs, strategies, params_version), quantizer, batch_norm_warm_up)


def calibrate(quantized: Any, data: Iterable[Any], batches: Optional[int] = None, forward: Forward = feed) -> int:
    """Sets every range from batches; returns how many batches there were.

    data: a tf.data.Dataset or any iterable of tensors, arrays, dicts of inputs, or tuples that begin with the inputs;
        ``forward(network, batch)`` for others.
    batches: no more than this many are taken.
    """
    begin_calibration(quantized)
    count = run_batches(quantized, itertools.islice(data, batches), forward)
    end_calibration(quantized)
    return count


def reestimate(quantized: Any, data: Iterable[Any], batches: Optional[int] = None, forward: Forward = feed) -> int:
    """Estimates the statistics of folded batch normalizations anew, at the end of training; returns the batches used."""
    return reestimate_statistics(quantized, itertools.islice(data, batches), forward)


def convert(quantized: Any, out: str, name: Optional[str] = None) -> TensorflowWritten:
    """Writes NAME.int8.onnx, NAME.int8.pb, quant_params.json, plan.json, result.json and manifest.json into ``out``."""
    return write(quantized_model(quantized), os.fspath(out), name)


def layers(quantized: Any) -> Dict[str, Union[str, FloatLayer]]:
    """What became of every layer by name: its widths, or a FloatLayer with the reason why it stays float."""
    network = quantized_model(quantized)
    widths = [(layer.path, layer.quantizer.grid.bits, layer.bits) for layer in layers_in(network)]
    return layers_by_name(widths, network.dopt_plan.products, network.dopt_plan.float_layers)


def write_settings(
    model: Any, inputs: str, path: str, strategy: str = DEFAULT_STRATEGY, params_version: str = "v2"
) -> List[LayerName]:
    """Writes a settings file with one strategy for every layer of a float Keras model; returns the layers."""
    check_float(model)
    names = [layer.name for layer in layers_of(capture(model, parse_shapes(inputs)))]
    write_config(path, names, inputs, strategy, params_version)
    return names
