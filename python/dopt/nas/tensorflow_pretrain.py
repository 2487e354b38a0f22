"""What shared weights begin with in TensorFlow: those of an earlier search, or of a classification of other pictures."""

import math
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import tensorflow as tf

from dopt.nas import pretrain
from dopt.nas.tensorflow_run import Run, names_of

CHECKPOINT = "supernet.npz"


def begin_from(params: Dict[str, Any], train: Callable[[Run, Optional[str]], Any]) -> Optional[str]:
    """The folder of the weights to begin with, None for none; what is to be learned before is learned by ``train``.

    Raises DoptError NAS_DATASET.
    """

    def learn(changed: Dict[str, Any]) -> None:
        run = Run(changed)
        run.module, run.user = _classification(run)
        train(run, None)

    return pretrain.begin_from(params, CHECKPOINT, learn)


def load_layers(network: Any, path: str) -> None:
    """Takes the weights of PreNet and of the layers from a checkpoint. Raises DoptError NAS_PRE_TRAIN when none fits."""
    with np.load(path) as stored:
        names = stored["names"].tolist() if "names" in stored else []
        theirs = {name: stored[f"weight_{at}"] for at, name in enumerate(names)}
    fitting = [(name, variable) for name, variable in zip(names_of(network), network.variables)
               if name in theirs and theirs[name].shape == tuple(variable.shape) and not name.startswith("post_net")]
    if not any(name.startswith("layer") for name, _ in fitting):
        raise pretrain.other_layers(path)
    for name, variable in fitting:
        variable.assign(theirs[name])


def _classification(run: Run) -> Any:
    """A module and a UserModule that classify the pictures of folders, with the user's PreNet.

    The user's learning rates may follow from the number of the user's own samples, so these fall along a cosine
    (Loshchilov, Hutter, "SGDR", ICLR 2017, equation 5, without restarts).
    """
    module, folder, shape = run.module, run.params["trainFolder"], run.params["inputShape"]
    first = run.params["channelsFirst"]
    names = pretrain.class_folders(folder, CHECKPOINT)
    files = pretrain.pictures(folder, names)

    class Head(tf.keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.classes = tf.keras.layers.Dense(len(names))

        def call(self, inputs: Any, training: Any = None) -> Any:
            return self.classes(tf.reduce_mean(inputs, (2, 3) if first else (1, 2)))

    def user(epochs: int, batch_size: int) -> Any:
        steps = epochs * (len(files) // min(batch_size, len(files)))
        return SimpleNamespace(
            build_dataset_search=lambda dir, is_training: _pictures(files, shape, first),
            lr_scheduler=lambda rate, step: rate * 0.5 * (1 + math.cos(math.pi * int(step) / steps)),
            loss_op=lambda labels, logits: tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits),
        )

    parts = SimpleNamespace(PreNet=module.PreNet, PostNet=Head, UserModule=user)
    return parts, user(run.params["epochs"], run.params["batchSize"])


def _pictures(files: List[Tuple[str, int]], shape: List[int], first: bool) -> Tuple[Any, int]:
    height, width, channels = shape
    paths, kinds = zip(*files)

    def read(path: Any, kind: Any) -> Any:
        picture = tf.numpy_function(lambda path: pretrain.read_picture(path.decode(), height, width), [path], tf.float32)
        picture = tf.image.random_flip_left_right(tf.ensure_shape(picture, (height, width, channels)))
        return tf.transpose(picture, (2, 0, 1)) if first else picture, kind

    data = tf.data.Dataset.from_tensor_slices((list(paths), list(kinds)))
    return data.shuffle(len(paths)).map(read), len(paths)
