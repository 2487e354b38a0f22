"""Calibration: counting what every quantizer sees, then ranges and scales; batch statistics estimated anew."""

from typing import Any, Callable, Iterable

import tensorflow as tf

from dopt.plugin.refusals import nothing_seen
from dopt.tf.network import forget_compiled, layers_in, quantized_model, quantizers_of

Forward = Callable[[Any, Any], Any]


def begin_calibration(model: Any) -> None:
    """From now on the model computes in float, and quantizers count what they see, from nothing."""
    from dopt import native

    network = quantized_model(model)
    quantizers = quantizers_of(network)
    histograms = native.load().histograms(max(len(quantizers), 1))
    for index, quantizer in enumerate(quantizers):
        quantizer.histograms, quantizer.index = histograms, index
        quantizer.samples.assign(0.0)
    network.dopt_plan.mode, network.dopt_plan.failure = "observe", None
    forget_compiled(network)


def end_calibration(model: Any) -> None:
    """Ranges from what was seen, scales from the weights as they are; the model computes quantized.

    Raises DoptError PLUGIN_NO_CALIBRATION when nothing was seen.
    """
    network = quantized_model(model)
    quantizers = quantizers_of(network)
    free = [quantizer for quantizer in quantizers if quantizer.fixed is None]
    if free and not any(float(quantizer.samples.numpy()) for quantizer in free):
        raise nothing_seen("calibrate(net, data): there was no batch in the data")
    for quantizer in quantizers:
        found = quantizer.found()
        if found is not None:
            for variable, value in zip((quantizer.scale0, quantizer.zero0, quantizer.seen), found):
                variable.assign(value)
            for variable in (quantizer.log_scale, quantizer.shift):
                if variable is not None:
                    variable.assign(tf.zeros_like(variable))
        quantizer.histograms = None
    for layer in layers_in(network):
        layer.calibrate()
    network.dopt_plan.mode = "on"
    forget_compiled(network)


def feed(network: Any, batch: Any) -> Any:
    """A batch as data sets give it: a tensor or array, a dict of inputs, or a tuple that begins with the inputs."""
    if isinstance(batch, (list, tuple)):
        count = len(network.inputs)
        # Keras' own convention: (x, y), where x is a list or dict of several inputs.
        batch = batch[0] if count == 1 or isinstance(batch[0], (list, tuple, dict)) else list(batch[:count])
    return network(tf.nest.map_structure(tf.convert_to_tensor, batch), training=False)


def run_batches(network: Any, batches: Iterable[Any], forward: Forward) -> int:
    """Feeds batches; returns how many. Raises DoptError PLUGIN_NOT_FINITE as it is, which Keras would wrap in its own."""
    count = 0
    plan = quantized_model(network).dopt_plan
    for batch in batches:
        try:
            forward(network, batch)
        except Exception as error:
            if plan.failure is None:
                raise
            raise plan.failure from error
        count += 1
    return count


def reestimate_statistics(model: Any, batches: Iterable[Any], forward: Forward = feed) -> int:
    """Running statistics of folded batch normalizations from scratch, as the rounded network sees the data.

    Plain means over the batches, as at the end of training in Krishnamoorthi, arXiv:1806.08342, section 3.2.2: frozen
    statistics were those of weights that have moved since. Returns the number of batches.
    """
    network = quantized_model(model)
    layers = [layer for layer in layers_in(network) if layer.norm is not None]
    kept = [layer.norm.momentum for layer in layers]
    for layer in layers:
        layer.follows_batches = True
    count = 0
    try:
        for batch in batches:
            for layer in layers:
                layer.norm.momentum = count / (count + 1)
            forward(network, batch)
            count += 1
    finally:
        for layer, momentum in zip(layers, kept):
            layer.follows_batches, layer.norm.momentum = False, momentum
    return count
