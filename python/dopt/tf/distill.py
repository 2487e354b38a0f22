"""Distillation: the quantized model learns from its own float copy, at its results and at the ends of its blocks."""

from typing import Any

import tensorflow as tf
from tensorflow.python.eager import tape

from dopt.plugin.refusals import no_step
from dopt.tf.layers import as_written
from dopt.tf.network import QuantizedModel, quantized_model

#: Probabilities below count as this, as in Keras' cross entropy.
SMALLEST = 1e-7


@as_written
def distillation_loss(quantized: Any) -> Any:
    """How far the last training step was from the float model, as a scalar loss: a twentieth of it beside the task's.

    For loops with a GradientTape, after ``quantized(x, training=True)`` and within the tape; ``add_distillation_loss`` is
    for fit(). Kullback-Leibler divergence between class scores or probabilities [N, C] (Hinton et al., arXiv:1503.02531),
    elsewhere squared error over the float model's power; plus the mean of the latter at the ends of blocks. The first
    call takes the float copy: make it before weights move. Raises DoptError PLUGIN_NO_STEP before a step in training mode.
    """
    network = quantized_model(quantized)
    if network.dopt_plan.step.given is None:
        raise no_step("quantized(x, training=True); loss = task + dopt.tf.distillation_loss(quantized) / 20.")
    return _loss(network)


def add_distillation_loss(quantized: Any, weight: float = 0.05) -> None:
    """From now on training by fit() adds ``weight`` times the distance from the float model, taken now, to the loss.

    Without labels, ``compile(optimizer)`` and this alone. Within strategy.scope() for tf.distribute.
    """
    network = quantized_model(quantized)
    _take_copy(network)

    @as_written
    def loss() -> Any:
        return None if network.dopt_plan.step.given is None else weight * _loss(network)

    network.add_loss(loss)


def _loss(network: QuantizedModel) -> Any:
    plan = network.dopt_plan
    step = plan.step
    if plan.teacher is None:
        # In a replica of a distributed model all of them wait here, and one makes it.
        tf.distribute.get_replica_context().merge_call(lambda _: _take_copy(network))
    with tape.stop_recording():
        wanted = tf.nest.flatten(plan.teacher(step.given, training=False))
    pairs = zip(tf.nest.flatten(step.result), wanted, plan.outputs)
    at_outputs = [distance(ours, theirs, kind) for ours, theirs, kind in pairs if ours.dtype.is_floating]
    targets = plan.teacher.dopt_plan.step.inside
    inside = [relative(step.inside[path], targets[path]) for path in targets if path in step.inside]
    step.begin()
    total = tf.add_n(at_outputs) / len(at_outputs)
    return total + tf.add_n(inside) / len(inside) if inside else total


def _take_copy(network: QuantizedModel) -> None:
    """Makes the float copy of the model as it is, once."""
    plan = network.dopt_plan
    if plan.teacher is not None:
        return
    with tf.init_scope():
        copied = plan.float_copy()
        for ours, theirs in zip(copied.weights, network.weights):
            ours.assign(theirs)
    plan.teacher = copied


def distance(ours: Any, theirs: Any, kind: str) -> Any:
    """Scalar distance of a result from the float model's. ``kind``: see structure.output_kind."""
    if kind == "bounded" or theirs.shape.rank != 2 or theirs.shape[-1] == 1:
        return relative(ours, theirs)
    logs = [_logarithms(each, kind) for each in (ours, theirs)]
    wanted = tf.stop_gradient(logs[1])
    return tf.reduce_mean(tf.reduce_sum(tf.exp(wanted) * (wanted - logs[0]), -1))


def _logarithms(result: Any, kind: str) -> Any:
    """Logarithms of the probabilities of classes; of what the softmax read where that is known, since no gradient comes
    back through a probability of 0."""
    if kind == "free":
        return tf.nn.log_softmax(tf.cast(result, tf.float32))
    # Keras leaves word of it for its own cross entropy.
    read = getattr(result, "_keras_logits", None)
    if read is None and not tf.executing_eagerly() and result.op.type == "Softmax":
        read = result.op.inputs[0]
    if read is not None:
        return tf.nn.log_softmax(tf.cast(read, tf.float32))
    return tf.math.log(tf.maximum(tf.cast(result, tf.float32), SMALLEST))


def relative(ours: Any, theirs: Any) -> Any:
    """Squared error over the power of ``theirs``, which gets no gradients."""
    ours, theirs = tf.cast(ours, tf.float32), tf.stop_gradient(tf.cast(theirs, tf.float32))
    power = tf.maximum(tf.reduce_mean(tf.square(theirs)), 1e-12)
    return tf.reduce_mean(tf.square(ours - theirs)) / power
