"""CamVid for a search: pictures with a class for each pixel, and what stands before and behind the searched layers."""

import functools
import glob
import os

import numpy as np
import tensorflow as tf
from PIL import Image

SIZE = (128, 96)
CLASSES, NONE = 11, 11


@functools.lru_cache(None)
def streets(folder):
    """Pictures of a folder; their classes lie in a folder of the same name with ``annot`` behind it."""
    pictures, classes = [], []
    for path in sorted(glob.glob(os.path.join(folder, "*.png"))):
        pictures.append(np.asarray(Image.open(path).convert("RGB").resize(SIZE, Image.BILINEAR), np.float32))
        labels = Image.open(os.path.join(folder + "annot", os.path.basename(path))).resize(SIZE, Image.NEAREST)
        classes.append(np.asarray(labels, np.int32))
    return (np.stack(pictures) - 110) / 60, np.stack(classes)


def turned(picture, classes):
    """Half of the pictures from left to right, classes and all."""
    both = tf.concat([picture, tf.cast(classes[..., None], tf.float32)], 2)
    both = tf.image.random_flip_left_right(both)
    return both[..., :3], tf.cast(both[..., 3], tf.int32)


class UserModule:
    def __init__(self, epoch, batch_size):
        self.epoch, self.batch_size = epoch, batch_size
        self.count = 0
        self.metric = Overlap()

    def build_dataset_search(self, dir, is_training, is_shuffle):
        pictures, classes = streets(dir)
        data = tf.data.Dataset.from_tensor_slices((pictures, classes))
        if is_training:
            self.count = len(pictures)
            data = data.map(turned)
        if is_shuffle:
            data = data.shuffle(len(pictures))
        return data.batch(self.batch_size, drop_remainder=is_training), len(pictures)

    def lr_scheduler(self, lr_init, global_step):
        steps = max(1, self.epoch * (self.count // self.batch_size))
        return lr_init * 0.5 * (1 + tf.cos(np.pi * tf.cast(global_step, tf.float32) / steps))

    def metrics_op(self, inputs, outputs):
        """The end of a metric counts, so that it is that of all pictures and not the mean over batches."""
        self.metric.update_state(inputs, outputs)
        return self.metric

    def loss_op(self, labels, logits):
        known = tf.cast(labels != NONE, tf.float32)
        error = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.minimum(labels, CLASSES - 1), logits)
        return tf.reduce_sum(known * error) / tf.maximum(1.0, tf.reduce_sum(known))


class Overlap(tf.keras.metrics.Metric):
    """Mean over classes of intersection over union, in percent."""

    def __init__(self):
        super().__init__()
        self.pairs = self.add_weight(name="pairs", shape=(CLASSES, CLASSES), initializer="zeros")

    def update_state(self, labels, logits):
        known = labels != NONE
        found = tf.argmax(logits, 3)[known]
        self.pairs.assign_add(tf.math.confusion_matrix(labels[known], found, CLASSES, dtype=tf.float32))

    def result(self):
        both = tf.linalg.diag_part(self.pairs)
        either = tf.reduce_sum(self.pairs, 0) + tf.reduce_sum(self.pairs, 1) - both
        return 100 * tf.reduce_mean(both[either > 0] / either[either > 0])

    def reset_state(self):
        self.pairs.assign(tf.zeros_like(self.pairs))


class Conv(tf.keras.layers.Layer):
    def __init__(self, channels, kernel=3, stride=1):
        super().__init__()
        self.conv = tf.keras.layers.Conv2D(channels, kernel, stride, "same", use_bias=False)
        self.norm = tf.keras.layers.BatchNormalization(momentum=0.9)

    def call(self, inputs, training=None):
        return tf.nn.relu(self.norm(self.conv(inputs), training=training))


class PreNet(tf.keras.Model):
    """Maps of a quarter of the picture's height and width."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Conv(16, 3, 2), Conv(16, 3, 2)

    def call(self, inputs, training=None):
        return self.second(self.first(inputs, training=training), training=training)


class PostNet(tf.keras.Model):
    """Joins the maps of the layers in feature_choose (0 and 2) and of the last one, and gives each pixel a class."""

    def __init__(self):
        super().__init__()
        self.join = [Conv(32, 1), Conv(32, 1), Conv(32, 1)]
        self.head = tf.keras.layers.Conv2D(CLASSES, 1)

    def call(self, inputs, training=None):
        first, *others = [join(each, training=training) for join, each in zip(self.join, inputs)]
        for each in others:
            first = first + tf.image.resize(each, first.shape[1:3])
        width, height = SIZE
        return tf.image.resize(self.head(first), (height, width))
