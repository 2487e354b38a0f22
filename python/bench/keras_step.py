"""Processor time of a training step of dopt.tf beside a float one: ResNet-8 for CIFAR, batch 128, one thread.

python python/bench/keras_step.py
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

BATCH, ROUNDS = 128, 5


def resnet8():
    """As in MLPerf Tiny: three stages of one block."""
    from tensorflow import keras

    layers = keras.layers

    def normalized(x, width, kernel, stride=1):
        return layers.BatchNormalization()(layers.Conv2D(width, kernel, stride, "same")(x))

    x = inputs = keras.Input([32, 32, 3], name="x")
    x = layers.ReLU()(normalized(x, 16, 3))
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        y = normalized(layers.ReLU()(normalized(x, width, 3, stride)), width, 3)
        if stride > 1:
            x = layers.Conv2D(width, 1, stride, "same")(x)
        x = layers.ReLU()(x + y)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def main() -> None:
    import numpy as np
    import tensorflow as tf

    import dopt.tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    x, y = np.random.default_rng(0).standard_normal([BATCH, 32, 32, 3]).astype("f"), np.arange(BATCH) % 10
    model = resnet8()
    stages = {"float": model}
    for name, warm_up in (("warm-up", 1 << 30), ("frozen", 0)):
        stages[name] = dopt.tf.prepare(model, "x:1,32,32,3", batch_norm_warm_up=warm_up)
        dopt.tf.calibrate(stages[name], [x])
    best = {}
    for each in stages.values():
        each.compile(tf.keras.optimizers.SGD(0.01, momentum=0.9), tf.keras.losses.SparseCategoricalCrossentropy(True))
        each.train_on_batch(x, y)
    for _ in range(ROUNDS):
        for name, each in stages.items():
            started = time.process_time()
            each.train_on_batch(x, y)
            best[name] = min(best.get(name, 1e9), time.process_time() - started)
    for name, seconds in best.items():
        print(f"{name}: {seconds * 1000:.0f} ms, {seconds / best['float']:.2f} times a float step")


if __name__ == "__main__":
    main()
