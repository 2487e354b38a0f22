"""The user's TensorFlow module with the data, optimizer and device that a scenario names."""

import itertools
import math
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

import numpy as np
import tensorflow as tf

from dopt.events import Events
from dopt.gpu import gpus as gpus_of
from dopt.gpu import require
from dopt.nas import tensorflow_user, user
from dopt.nas.tensorflow_parallel import devices_of


class Run:
    """Builds, trains and judges networks as a scenario says; params: what METHODS.nasTrain and nasScore share."""

    def __init__(self, params: Dict[str, Any]) -> None:
        self.params = params
        places = params.get("places", [params["gpu"]])
        _use(places, params["threads"])
        self.devices = devices_of(places)
        self.module = tensorflow_user.load(params["folder"])
        self.user = self.module.UserModule(params["epochs"], params["batchSize"])
        self.classes = params["application"] != "object_detection"
        self.seed(params["seed"])

    def seed(self, seed: int) -> None:
        """All random numbers from here on follow from ``seed``, those of the user's too."""
        tf.keras.utils.set_random_seed(seed % 2**31)

    def supernet(self, layers: List[Dict[str, Any]]) -> Any:
        """The network of all candidates, the same for the same seed, with one of them active."""
        from dopt.nas.tensorflow_supernet import Supernet

        self.seed(self.params["seed"])
        with self.devices.scope():
            pre_net, post_net = tensorflow_user.fixed_parts(self.module, self.params)
            network = Supernet(pre_net, self.params["largest"], post_net, self.params["features"])
            network.active = layers
            self.built(network)
        return network

    def network(self, layers: List[Dict[str, Any]]) -> Any:
        """One candidate with weights of its own."""
        from dopt.nas.tensorflow_blocks import Network

        with self.devices.scope():
            pre_net, post_net = tensorflow_user.fixed_parts(self.module, self.params)
            network = Network(pre_net, layers, post_net, self.params["features"])
            self.built(network)
        return network

    def built(self, network: Any) -> None:
        """Keras makes weights when it sees a first input."""
        network(tf.zeros((1, *tensorflow_user.input_shape(self.params))), training=False)

    def batches(self, training: bool, epoch: int = 0, whose: Any = None) -> tensorflow_user.Batches:
        """Batches of the folder for training or validation; shuffled as the seed and the epoch say.
        ``whose``: another UserModule than that of the scenario, which may remember what it gave."""
        folder = self.params["trainFolder" if training else "valFolder"]
        self.seed(self.params["seed"] * 100_003 + epoch)
        return tensorflow_user.batches(whose or self.user, folder, training, self.params["batchSize"])

    def optimizer(self, variables: List[Any]) -> Any:
        """The optimizer of the scenario with its state for these variables."""
        given = self.params["optimizer"]
        # Newer versions have others under these names, whose state is kept otherwise.
        found = getattr(tf.keras.optimizers, "legacy", tf.keras.optimizers)
        rate = given["learningRate"]
        with self.devices.scope():
            if given["type"] == "Adam":
                optimizer = found.Adam(rate, *given["betas"])
            else:
                optimizer = found.SGD(rate, given["momentum"] if given["type"] == "Momentum" else 0.0)
            optimizer._create_all_weights(variables)  # noqa: SLF001 - a checkpoint is put into them before the first step.
        return optimizer

    def rate(self, step: int, whose: Any = None) -> float:
        """The learning rate of a step."""
        initial = self.params["optimizer"]["learningRate"]
        return tensorflow_user.rate((whose or self.user).lr_scheduler, initial, tf.constant(step, tf.int64))

    def loss(self, labels: Any, outputs: Any, network: Any) -> tf.Tensor:
        """The user's loss of a batch as one number, with what regularizers of the user's layers add."""
        with self.devices.unknown():
            found = self.user.loss_op(labels, outputs)
        return tf.add_n([tf.reduce_mean(found), *network.losses])

    def number(self, loss: Any) -> float:
        """A loss as a number. Raises DoptError NAS_LOSS when it is none."""
        value = float(loss)
        if not math.isfinite(value):
            raise user.not_a_number("loss_op", value)
        return value

    def fit(self, network: Any, epochs: int, done: int) -> None:
        """Trains one network alone, with the user's whole schedule and an optimizer that knows nothing yet: behind ``done``
        epochs that is a warm restart (Loshchilov, Hutter, "SGDR", ICLR 2017, section 3)."""
        own = self.module.UserModule(epochs, self.params["batchSize"])
        self._learn(network, self._batches(range(done, done + epochs), own), lambda number: self.rate(number, own))

    def tune(self, network: Any, steps: int, number: int = 0) -> List[float]:
        """Trains one network for so many batches, with the learning rates that the user has for one epoch; the loss of each.
        Batches are the same for all networks, and others with another ``number``."""
        own = self.module.UserModule(1, self.params["batchSize"])
        whole = self.batches(True, 0, own).steps or steps
        first = number * math.ceil(steps / whole)
        batches = itertools.islice(self._batches(itertools.count(first), own), steps)
        return self._learn(network, batches, lambda step: self.rate(step * whole // steps, own))

    def _batches(self, epochs: Iterable[int], own: Any) -> Iterator[Any]:
        for epoch in epochs:
            yield from self.batches(True, epoch, own)

    def _learn(self, network: Any, batches: Iterable[Any], rate: Callable[[int], float]) -> List[float]:
        """The loss of each batch. ``rate``: the learning rate of a step by its number."""
        optimizer = self.optimizer(network.trainable_variables)

        @tf.function
        def step(inputs: Any, labels: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = self.loss(labels, network(inputs, training=True), network)
            optimizer.apply_gradients(zip(tape.gradient(loss, network.trainable_variables), network.trainable_variables))
            return loss

        losses = []
        for number, (inputs, labels) in enumerate(batches):
            optimizer.learning_rate = rate(number)
            losses.append(self.number(step(inputs, labels)))
        return losses

    def evaluate(self, forward: Callable[[Any], Any]) -> float:
        """What the user's metric says of the validation folder: its mean over samples, or the end of a metric of Keras.

        Where validation data are ``[generator, parsed]``, metrics_op is called once, as the original does for detectors: with
        the folder and the network, and with the generator, the samples' names and their number.
        """
        data = self.batches(False)
        if data.whole is not None:
            model = lambda inputs, training=False: forward(inputs)  # noqa: E731
            generator, parsed, count = data.whole
            names = getattr(parsed, "image_ids", None)
            return user.score_of(self.user.metrics_op([self.params["valFolder"], model], [generator, names, count]))
        total, count, metric = 0.0, 0, None
        for inputs, labels in data:
            found = self.user.metrics_op(labels, predicted(forward(inputs), labels, self.params["channelsFirst"]))
            if hasattr(found, "result"):
                metric = found
                continue
            size = int(inputs.shape[0])
            total += size * user.score_of(found)
            count += size
        if metric is None:
            return total / max(1, count)
        value = user.score_of(metric.result())
        metric.reset_state()
        return value

    def validation_loss(self, forward: Callable[[Any], Any], network: Any) -> Optional[float]:
        """Mean of the user's loss over the samples of the validation folder, with what regularizers add; None where the folder has
        no batches of its own. Raises DoptError NAS_LOSS."""
        data = self.batches(False)
        if data.whole is not None:
            return None
        total, count = 0.0, 0
        for inputs, labels in data:
            size = int(inputs.shape[0])
            total += size * self.number(self.loss(labels, forward(inputs), network))
            count += size
        return total / count if count else None

    def is_full(self, error: Exception) -> bool:
        """Whether an error says that memory ran out."""
        return isinstance(error, tf.errors.ResourceExhaustedError)


def predicted(outputs: Any, labels: Any, first: bool) -> Any:
    """What a metric gets of a network: its outputs, but classes of pixels where PostNet gives logits by scale, each a dict of
    a dict, as DeepLab's code does: of the last scale, as large as the labels. ``first``: logits have channels first."""
    if not (isinstance(outputs, dict) and all(isinstance(each, dict) for each in outputs.values())):
        return outputs
    size = tf.shape(labels)[1:3]
    last = {name: list(scales.values())[-1] for name, scales in outputs.items()}
    if first:
        last = {name: tf.transpose(each, (0, 2, 3, 1)) for name, each in last.items()}
    return {name: tf.argmax(tf.image.resize(each, size), 3) for name, each in last.items()}


def names_of(network: Any) -> List[str]:
    """Names of a network's variables, in their order, that another network with the same layers has too."""
    found = {}
    for part in ("pre_net", "post_net"):
        found.update({each.ref(): f"{part}/{at}" for at, each in enumerate(getattr(network, part).variables)})
    for number, layer in enumerate(getattr(network, "shared", None) or network.searched):
        kinds = layer.blocks.items() if hasattr(layer, "blocks") else [("", {"": layer})]
        for kind, parts in kinds:
            for part, module in parts.items():
                names = {each.ref(): f"layer{number}/{kind}/{part}/{at}" for at, each in enumerate(module.variables)}
                found.update(names)
    return [found[each.ref()] for each in network.variables]


def save(file: Any, epoch: int, network: Any, optimizer: Any) -> None:
    """Weights of a network with their names, the state of its optimizer and how many epochs are done."""
    weights = {f"weight_{at}": each.numpy() for at, each in enumerate(network.variables)}
    state = {f"state_{at}": each for at, each in enumerate(optimizer.get_weights())}
    np.savez(file, epoch=np.int64(epoch), names=np.array(names_of(network)), **weights, **state)


def restore(path: str, network: Any, optimizer: Any = None) -> int:
    """Takes up what ``save`` wrote; how many epochs are done."""
    with np.load(path) as stored:
        for at, each in enumerate(network.variables):
            each.assign(stored[f"weight_{at}"])
        if optimizer is not None:
            count = len(optimizer.get_weights())
            optimizer.set_weights([stored[f"state_{at}"] for at in range(count)])
        return int(stored["epoch"])


def _use(places: List[Any], threads: int) -> None:
    """Shows TensorFlow the GPUs of ``places`` and no others, the processor as often as it is named there (None), and as many
    threads; what it computed with before stays as it is.

    Raises DoptError GPU_UNAVAILABLE.
    """
    named = [place for place in places if place is not None]
    for gpu in named:
        require("tensorflow", gpus_of({"frameworks": ["tensorflow"]}, Events())["frameworks"]["tensorflow"], gpu)
    try:
        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            chosen = [gpus[gpu] for gpu in named]
            tf.config.set_visible_devices(chosen, "GPU")
            for each in chosen:
                tf.config.experimental.set_memory_growth(each, True)
        if not named and len(places) > 1:
            parts = [tf.config.LogicalDeviceConfiguration() for _ in places]
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        return
