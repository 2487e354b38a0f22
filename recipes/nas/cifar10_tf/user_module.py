"""CIFAR-10 for a search: the data, how networks are trained and judged, and what stands before and behind them."""

import glob
import json
import os

import numpy as np
import tensorflow as tf
from PIL import Image

MEAN = np.array([125.3, 123.0, 113.9], np.float32)
STD = np.array([63.0, 62.1, 66.7], np.float32)


def pictures(folder, training):
    """Files of 1,000 pictures, one a row. The last two files of a folder judge, all others train."""
    files = sorted(glob.glob(os.path.join(folder, "train_*.png")))
    with open(os.path.join(folder, "labels.json"), encoding="utf-8") as file:
        labels = json.load(file)["train"]
    found, classes = [np.zeros((0, 32, 32, 3), np.float32)], []
    for path in files[:-2] if training else files[-2:]:
        start = 1000 * int(os.path.basename(path)[6:8])
        rows = np.asarray(Image.open(path).convert("RGB"), np.float32)
        found.append((rows.reshape(-1, 32, 32, 3) - MEAN) / STD)
        classes.extend(labels[start : start + len(found[-1])])
    return np.concatenate(found), np.array(classes, np.int32)


class UserModule:
    def __init__(self, epoch, batch_size):
        self.epoch, self.batch_size = epoch, batch_size
        self.count = 0

    def build_dataset_search(self, dir, is_training, is_shuffle):
        inputs, classes = pictures(dir, is_training)
        data = tf.data.Dataset.from_tensor_slices((inputs, classes))
        if is_training:
            self.count = len(classes)
            flip = lambda picture, label: (tf.image.random_flip_left_right(picture), label)  # noqa: E731
            data = data.map(flip)
        if is_shuffle:
            data = data.shuffle(len(classes))
        return data.batch(self.batch_size, drop_remainder=is_training), len(classes)

    def lr_scheduler(self, lr_init, global_step):
        steps = max(1, self.epoch * (self.count // self.batch_size))
        return lr_init * 0.5 * (1 + tf.cos(np.pi * tf.cast(global_step, tf.float32) / steps))

    def metrics_op(self, inputs, outputs):
        right = tf.equal(tf.argmax(outputs, 1, tf.int32), inputs)
        return 100 * tf.reduce_mean(tf.cast(right, tf.float32))

    def loss_op(self, labels, logits):
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


class PreNet(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = tf.keras.layers.Conv2D(16, 3, 2, padding="same", use_bias=False)
        self.norm = tf.keras.layers.BatchNormalization(momentum=0.9)

    def call(self, inputs, training=None):
        return tf.nn.relu(self.norm(self.conv(inputs), training=training))


class PostNet(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.head = tf.keras.layers.Dense(10)

    def call(self, inputs, training=None):
        return self.head(tf.reduce_mean(inputs, (1, 2)))
