"""Method ``nasTrain`` in TensorFlow, and training of one network, both from the last finished epoch on."""

import math
import os
from typing import Any, Callable, Dict, List, Optional, Tuple

import tensorflow as tf

from dopt.nas.board import Board, log_of
from dopt.nas.scoring import write_whole
from dopt.nas.tensorflow_parallel import weighed
from dopt.nas.tensorflow_pretrain import CHECKPOINT, begin_from, load_layers
from dopt.nas.tensorflow_run import Run, restore, save

#: Networks of the deck that learn from each batch.
CARDS = 2
#: What a layer's distance from the guide's weighs beside the loss.
ALIKE = 1.0
#: Epochs of the guide, as a share of those of the scenario.
GUIDE_SHARE = 0.5

#: Gets shares of a batch (tensorflow_parallel.py) and the number of the step; gives the loss of each network that learned from
#: them, and the gradients of all trainable variables.
Backward = Callable[[Tuple[Any, Any, Any], int], Tuple[List[Any], List[Any]]]


def train(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Trains the shared weights of all candidates, from the last finished epoch on, by a guide: as torch_train.py does, where
    the reasons are.

    Parameters and result: METHODS.nasTrain. Raises DoptError NAS_LOSS when the loss is no number, NAS_PRE_TRAIN.
    """
    before = begin_from(params, lambda run, folder: _train(run, folder, events))
    return _train(Run(params), before, events)


def _train(run: Run, before: Optional[str], events: Any) -> Dict[str, Any]:
    """``before``: a folder of weights to begin with."""
    params = run.params
    guide = _guide(run, before, events)
    network, deck = run.supernet(params["deck"][0]), params["deck"]
    if before is not None:
        load_layers(network, os.path.join(before, CHECKPOINT))
    network.pre_net.set_weights(guide.pre_net.get_weights())
    network.post_net.set_weights(guide.post_net.get_weights())
    variables = list(network.trainable_variables)
    observed = tf.function(run.devices.each(lambda inputs: guide.observed(inputs, training=False)))

    def learn(inputs: Any, labels: Any, weight: Any, maps: Any, teacher: Any, sums: List[Any]) -> Tuple[Any, List[Any]]:
        with tf.GradientTape() as tape:
            ours, outputs = network.observed(inputs, training=True)
            loss = _distilled(run, run.loss(labels, outputs, network), outputs, teacher) + ALIKE * _distance(ours, maps)
            loss = weighed(loss, weight)
        return loss, _added(sums, tape.gradient(loss, variables))

    step = run.devices.each(learn)

    def backward(shares: Tuple[Any, Any, Any], number: int) -> Tuple[List[Any], List[Any]]:
        maps, teacher = observed(shares[0])
        losses: List[Any] = []
        sums: List[Any] = [None] * len(variables)
        for card in range(CARDS):
            network.active = deck[(CARDS * number + card) % len(deck)]
            loss, sums = step(*shares, maps, teacher, sums)
            losses.append(loss)
        return losses, sums

    loss = fit(run, network, params["checkpoint"], (run.user, params["epochs"]), backward, events)
    return {"epochs": params["epochs"], "loss": loss if math.isfinite(loss) else None}


def _guide(run: Run, before: Optional[str], events: Any) -> Any:
    """The trained guide."""
    params = run.params
    run.seed(params["seed"])
    guide = run.network(params["guide"])
    if before is not None:
        load_layers(guide, guide_path(os.path.join(before, CHECKPOINT)))
    epochs = math.ceil(params["epochs"] * GUIDE_SHARE)
    user = run.module.UserModule(epochs, params["batchSize"])
    fit(run, guide, guide_path(params["checkpoint"]), (user, epochs), alone(run, guide), events)
    return guide


def guide_path(checkpoint: str) -> str:
    """Where the guide's checkpoint lies."""
    return f"{os.path.splitext(checkpoint)[0]}.guide.npz"


def _added(sums: List[Any], more: List[Any]) -> List[Any]:
    """Gradients of weights that a network does not use are none."""
    return [b if a is None else a if b is None else a + b for a, b in zip(sums, more)]


def _distance(ours: List[Any], theirs: List[Any]) -> Any:
    """Sum over layers of the squared distance between both maps, as a share of the guide's variance: over the first
    channels, which a narrower layer has. A layer that is none (None) has no distance."""
    total = 0.0
    for our, their in zip(ours, theirs):
        if our is not None:
            their = their[..., : our.shape[-1]]
            total = total + tf.reduce_mean(tf.square(our - their)) / (tf.math.reduce_variance(their) + 1e-5)
    return total


def _distilled(run: Run, loss: Any, outputs: Any, teacher: Any) -> Any:
    """Half the user's own loss, half the cross entropy against the guide's classes (Hinton et al., "Distilling the
    Knowledge in a Neural Network", 2015, section 2). The user's loss alone where outputs are no single map of classes."""
    if not (run.classes and tf.is_tensor(outputs) and outputs.shape.rank >= 2):
        return loss
    classes = tf.nn.softmax(teacher)
    return 0.5 * loss + 0.5 * tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(classes, outputs))


def alone(run: Run, network: Any) -> Backward:
    """The training step of one network on the user's loss."""

    def step(inputs: Any, labels: Any, weight: Any) -> Tuple[Any, List[Any]]:
        with tf.GradientTape() as tape:
            loss = weighed(run.loss(labels, network(inputs, training=True), network), weight)
        return loss, tape.gradient(loss, network.trainable_variables)

    gradients = tf.function(run.devices.each(step))

    def backward(shares: Tuple[Any, Any, Any], _: int) -> Tuple[List[Any], List[Any]]:
        loss, found = gradients(*shares)
        return [loss], found

    return backward


def fit(run: Run, network: Any, path: str, plan: Tuple[Any, int], backward: Backward, events: Any) -> float:
    """Trains for a number of epochs from those on that the checkpoint ``path`` holds; the last loss, NaN where none was left.

    ``plan``: the UserModule whose learning rates these are, and the epochs.
    """
    user, epochs = plan
    variables = list(network.trainable_variables)
    optimizer = run.optimizer(variables)

    # Zero instead of none: momentum goes on in what this step does not use, and there is one graph for all.
    filled = run.devices.each(lambda found: [tf.zeros_like(v) if g is None else g for g, v in zip(found, variables)])

    def take(gradients: List[Any]) -> None:
        optimizer.apply_gradients(zip(gradients, variables))  # of all devices: the strategy adds them up.

    apply = tf.function(run.devices.each(take))
    loss, board = math.nan, Board(log_of({**run.params, "checkpoint": path}))
    for epoch in range(restore(path, network, optimizer) if os.path.exists(path) else 0, epochs):
        data = run.batches(True, epoch, user)
        steps = data.steps
        for step, (inputs, labels) in enumerate(data):
            number = epoch * steps + step
            rate = run.rate(number, user)
            optimizer.learning_rate = rate
            losses, found = backward(run.devices.shares(inputs, labels), number)
            loss = sum(run.number(run.devices.total(each)) for each in losses) / len(losses)
            board.scalars(number, loss=loss, learning_rate=rate)
            apply(filled(found))
            events.progress(number + 1, epochs * steps, f"loss {loss:.3f}")
        run.devices.settle(network)
        write_whole(path, lambda file, done=epoch + 1: save(file, done, network, optimizer))
    return loss
