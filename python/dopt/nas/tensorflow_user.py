"""The user's part of a search in TensorFlow."""

import inspect
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from dopt.errors import DoptError
from dopt.nas import user as shared
from dopt.nas.user import Interface

INTERFACE = Interface(
    "TensorFlow",
    ("build_dataset_search", "lr_scheduler", "metrics_op", "loss_op"),
    """class UserModule:
    def __init__(self, epoch, batch_size): ...
    def build_dataset_search(self, dir, is_training, is_shuffle): ...  # a tf.data.Dataset of (inputs, labels), and how many
    def lr_scheduler(self, lr_init, global_step): ...                  # the learning rate of a step
    def metrics_op(self, inputs, outputs): ...   # labels and outputs of a batch; a number, more is better
    def loss_op(self, labels, logits): ...
class PreNet(tf.keras.Model):   # call(self, inputs, training)
class PostNet(tf.keras.Model):  # call(self, inputs, training)""",
)


def load(folder: str) -> Any:
    """The user's module. Raises DoptError NAS_USER_MODULE."""
    return shared.load(folder, INTERFACE)


def input_shape(params: Dict[str, Any]) -> List[int]:
    """Shape of a picture as the user's networks read it."""
    height, width, channels = params["inputShape"]
    return [channels, height, width] if params["channelsFirst"] else [height, width, channels]


def fixed_parts(module: Any, params: Dict[str, Any]) -> Tuple[Any, Any]:
    """PreNet and PostNet for searched layers between them, whose maps have channels last."""
    from dopt.nas.tensorflow_blocks import FromChannelsFirst, ToChannelsFirst

    if params["channelsFirst"]:
        return FromChannelsFirst(module.PreNet()), ToChannelsFirst(module.PostNet())
    return module.PreNet(), module.PostNet()


class Whole(NamedTuple):
    """What a detector is judged by as a whole: the user's generator, what it was made of, and how many samples there are."""

    generator: Any
    parsed: Any
    count: int


class Batches:
    """Pairs of inputs and labels in batches, gone through once; inputs are float32.

    ``steps``: how many there are; None ends it when as many samples as the dataset has are through. ``whole``: set where
    metrics_op is to get all of it at once, which ``[generator, parsed], count`` of the user's says.
    """

    def __init__(self, data: Any, count: int, steps: Optional[int], whole: Optional[Whole]) -> None:
        self._data, self._count, self.steps, self.whole = data, count, steps, whole

    def __iter__(self) -> Iterator[Tuple[Any, Any]]:
        done = 0
        for step, each in enumerate(self._data):
            inputs, labels = _pair(each, self.whole is not None)
            yield inputs, labels
            done += int(inputs.shape[0])
            if step + 1 == self.steps or (self.steps is None and done >= self._count):
                return


def batches(user: Any, folder: str, training: bool, size: int) -> Batches:
    """The user's dataset of a folder in batches.

    A dataset of TensorFlow whose inputs have three dimensions is of single samples; any other, and any other iterable, is of
    batches, and may repeat without end. Samples are pairs, or dicts with ``image`` and ``label``.
    Raises DoptError NAS_DATASET when the folder is not there, the dataset empty, or no pair of dataset and count.
    """
    found = _built(user, folder, training)
    is_whole = isinstance(found, Whole)
    data, count = (found.generator, found.count) if is_whole else found
    size = min(size, count)
    if hasattr(data, "element_spec") and _pair_of(data.element_spec, False)[0].shape.rank == 3:
        data = data.batch(size, drop_remainder=training)
    return Batches(data, count, count // size if training else None, found if is_whole else None)


def _built(user: Any, folder: str, training: bool) -> Any:
    shared.check_folder(folder)
    build = user.build_dataset_search
    shuffles = len(inspect.signature(build).parameters) > 2
    found = build(folder, training, training) if shuffles else build(folder, training)
    if not (isinstance(found, (tuple, list)) and len(found) == 2 and hasattr(found[0], "__iter__") and _is_count(found[1])):
        what = type(found).__name__
        raise DoptError("NAS_DATASET", f"build_dataset_search must return a dataset and its number of samples, not {what}.",
                        place="user_module.py", suggestions=[f"A search in TensorFlow needs:\n{INTERFACE.skeleton}"])
    data, count = found[0], int(found[1])
    if count == 0:
        raise shared.nothing_in(folder, "build_dataset_search")
    return Whole(data[0], data[1], count) if isinstance(data, (tuple, list)) and len(data) == 2 else (data, count)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) or (hasattr(value, "ndim") and value.ndim == 0)


def _pair(each: Any, more: bool) -> Tuple[Any, Any]:
    import tensorflow as tf

    inputs, labels = _pair_of(each, more)
    return tf.cast(inputs, tf.float32), _tensors(labels)


def _pair_of(each: Any, more: bool) -> Tuple[Any, Any]:
    """Inputs and labels; with ``more``, all that stands behind the inputs is a list in the place of labels."""
    if isinstance(each, dict) and "image" in each and "label" in each:
        return each["image"], each["label"]
    if isinstance(each, (tuple, list)) and (len(each) == 2 or (more and len(each) > 2)):
        return each[0], each[1] if len(each) == 2 else list(each[1:])
    what = each if not isinstance(each, (tuple, list)) else f"{len(each)} of them"
    raise DoptError("NAS_DATASET", f"The dataset must give pairs of inputs and labels, not {what}.", place="user_module.py",
                    suggestions=["Dicts are taken where they have `image` and `label`."])


def _tensors(value: Any) -> Any:
    """Arrays of a generator as tensors, of the precision that networks compute in."""
    import numpy as np
    import tensorflow as tf

    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    return tf.constant(value, tf.float32 if value.dtype == np.float64 else None)


def rate(schedule: Callable[[float, Any], Any], initial: float, step: Any) -> float:
    """What lr_scheduler says of a step: a number, a tensor, a schedule of Keras, or what tf.compat.v1.train returns."""
    found = schedule(initial, step)
    if callable(found):
        found = found(step) if hasattr(found, "get_config") else found()
    return float(found)
