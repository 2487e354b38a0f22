"""Several devices that train one network together in TensorFlow, each on its share of every batch.

One process holds the weights once a device (tf.distribute.MirroredStrategy). Each device finds the gradients of its share; they
are added up, and all take the same step. The loss of a share weighs as much as it has samples, so what is lessened is the mean
over the whole batch (Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 3.1), and the batch is that of the scenario
however many devices there are, so the learning rate is too. What is a statistic of a batch and no mean over its samples is that
of each share, as in torch_parallel.py: normalizations, and the variance that distances from the guide are measured by. What
layers of Keras keep of such statistics is the mean over devices.
"""

import contextlib
from typing import Any, Callable, Iterator, List, Tuple

import tensorflow as tf

from dopt.errors import DoptError


class OneDevice:
    """Training where TensorFlow computes by itself: everything is done as it would be without this file."""

    def scope(self) -> Any:
        """In which networks and optimizers are made."""
        return contextlib.nullcontext()

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function as every device computes it, with what ``shares`` and other such functions gave."""
        return function

    def shares(self, inputs: Any, labels: Any) -> Tuple[Any, Any, Any]:
        """The inputs and labels of each device's share of a batch, and what the loss of that share weighs: None for all."""
        return inputs, labels, None

    def total(self, loss: Any) -> float:
        """The loss of a batch from those that ``each`` gave, which were weighed."""
        return float(loss)

    def unknown(self) -> Any:
        """In which the user's code computes as if there were one device."""
        return contextlib.nullcontext()

    def settle(self, network: Any) -> None:
        """Gives all devices the same of what each has kept for itself: what a checkpoint says."""


class SeveralDevices(OneDevice):
    """Training on all of ``names``: GPU:0, GPU:1, ... as this process sees them."""

    def __init__(self, names: List[str]) -> None:
        # NCCL, which TensorFlow takes for GPUs where it can, adds nothing up on a processor.
        on_host = tf.distribute.ReductionToOneDevice() if names[0].startswith("CPU") else None
        self._strategy = tf.distribute.MirroredStrategy(names, cross_device_ops=on_host)
        self._names = names

    def scope(self) -> Any:
        return self._strategy.scope()

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *values: self._strategy.run(function, args=values)

    def shares(self, inputs: Any, labels: Any) -> Tuple[Any, Any, Any]:
        size, count = int(inputs.shape[0]), len(self._names)
        # A device that gets no sample of a small batch computes the first one, which weighs nothing there.
        parts = [slice(at, None, count) if at < size else slice(0, 1) for at in range(count)]
        weights = [tf.constant(len(range(at, size, count)) / size, tf.float32) for at in range(count)]
        dealt = tf.nest.map_structure(lambda each: self._placed(taken(each, size, parts)), (inputs, labels))
        return (*dealt, self._placed(weights))

    def _placed(self, values: List[Any]) -> Any:
        def on_its_device(context: Any) -> Any:
            number = context.replica_id_in_sync_group
            with tf.device(self._names[number]):
                return tf.nest.map_structure(tf.identity, values[number], expand_composites=True)

        return self._strategy.experimental_distribute_values_from_function(on_its_device)

    def total(self, loss: Any) -> float:
        return sum(float(each) for each in self._strategy.experimental_local_results(loss))

    @contextlib.contextmanager
    def unknown(self) -> Iterator[None]:
        # Losses of Keras refuse to be a mean over samples in a strategy, whose devices' losses they expect to be added as they are.
        graph = tf.compat.v1.get_default_graph()
        kept, graph._distribution_strategy_stack = graph._distribution_strategy_stack, []  # noqa: SLF001 - of this thread.
        try:
            yield
        finally:
            graph._distribution_strategy_stack = kept  # noqa: SLF001

    def settle(self, network: Any) -> None:
        for each in network.variables:
            if each.synchronization == tf.VariableSynchronization.ON_READ:
                each.assign(each.numpy())


def devices_of(places: List[Any]) -> OneDevice:
    """What trains on ``places``, the index of a GPU each or None for the processor, which this process sees and no others."""
    kind = "CPU" if places[0] is None else "GPU"
    return SeveralDevices([f"{kind}:{at}" for at in range(len(places))]) if len(places) > 1 else OneDevice()


def weighed(loss: Any, weight: Any) -> Any:
    """The loss of a share as part of that of the batch."""
    return loss if weight is None else weight * loss


def taken(value: Any, size: int, parts: List[slice]) -> List[Any]:
    """Parts of a tensor or an array along its samples. Raises DoptError NAS_DATASET where it does not begin with them."""
    shape = getattr(value, "shape", None)
    if not hasattr(value, "__getitem__") or shape is None or len(shape) == 0 or shape[0] != size:
        found = type(value).__name__ if shape is None else f"{type(value).__name__} of {list(shape)}"
        raise DoptError(
            "NAS_DATASET", "Devices that train together share a batch along the first axis of its inputs and labels.",
            place="user_module.py", found=f"{found}, in a batch of {size}",
            suggestions=["Give labels as tensors with one entry a sample first.", "Name one device in gpu_id."])
    return [value[part] for part in parts]
