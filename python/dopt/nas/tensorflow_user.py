"""The user's part of a search in TensorFlow."""

import inspect
from typing import Any, Callable, Tuple

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
    def metrics_op(self, inputs, outputs): ...   # labels and logits of a batch; a number, more is better
    def loss_op(self, labels, logits): ...
class PreNet(tf.keras.Model):   # call(self, inputs, training)
class PostNet(tf.keras.Model):  # call(self, inputs, training)""",
)


def load(folder: str) -> Any:
    """The user's module. Raises DoptError NAS_USER_MODULE."""
    return shared.load(folder, INTERFACE)


def batches(user: Any, folder: str, training: bool, size: int) -> Tuple[Any, int]:
    """The user's dataset of a folder in batches, and how many of them are gone through once.

    A dataset whose inputs have three dimensions is of single samples; any other is of batches, and may repeat without end.
    Raises DoptError NAS_DATASET when the folder is not there, the dataset empty, or no pair of dataset and count.
    """
    shared.check_folder(folder)
    build = user.build_dataset_search
    shuffles = len(inspect.signature(build).parameters) > 2
    found = build(folder, training, training) if shuffles else build(folder, training)
    if not (isinstance(found, (tuple, list)) and len(found) == 2 and hasattr(found[0], "element_spec")):
        what = type(found).__name__
        raise DoptError("NAS_DATASET", f"build_dataset_search must return a dataset and its number of samples, not {what}.",
                        place="user_module.py", suggestions=[f"A search in TensorFlow needs:\n{INTERFACE.skeleton}"])
    data, count = found[0], int(found[1])
    if count == 0:
        raise shared.nothing_in(folder, "build_dataset_search")
    spec = data.element_spec
    if not (isinstance(spec, (tuple, list)) and len(spec) == 2):
        raise DoptError("NAS_DATASET", f"The dataset must give pairs of inputs and labels, not {spec}.", place="user_module.py")
    size = min(size, count)
    if spec[0].shape.rank == 3:
        data = data.batch(size, drop_remainder=training)
    steps = count // size if training else -(-count // size)
    return data.take(steps), steps


def rate(schedule: Callable[[float, Any], Any], initial: float, step: Any) -> float:
    """What lr_scheduler says of a step: a number, a tensor, a schedule of Keras, or what tf.compat.v1.train returns."""
    found = schedule(initial, step)
    if callable(found):
        found = found(step) if hasattr(found, "get_config") else found()
    return float(found)
