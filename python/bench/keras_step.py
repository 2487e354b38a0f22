"""Time and memory of a training step of dopt.tf beside a float one: ResNet-8 for CIFAR, batch 128, one thread.

Processor seconds; memory is what training adds to the resident set, compilation included, in a process of its own each.

python python/bench/keras_step.py
"""

import subprocess
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


def prepared(stage):
    """The float model or a quantized one, ready for steps, and a batch."""
    import numpy as np
    import tensorflow as tf

    import dopt.tf

    x, y = np.random.default_rng(0).standard_normal([BATCH, 32, 32, 3]).astype("f"), np.arange(BATCH) % 10
    model = resnet8()
    if stage != "float":
        model = dopt.tf.prepare(model, "x:1,32,32,3", batch_norm_warm_up=1 << 30 if stage == "warm-up" else 0)
        dopt.tf.calibrate(model, [x[:2]])
    if stage == "distilled":
        dopt.tf.add_distillation_loss(model)
    model.compile(tf.keras.optimizers.SGD(0.01, momentum=0.9), tf.keras.losses.SparseCategoricalCrossentropy(True))
    return model, x, y


def one_thread() -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def main() -> None:
    one_thread()
    stages = {name: prepared(name) for name in ("float", "warm-up", "frozen", "distilled")}
    best = {}
    for round_ in range(ROUNDS + 1):
        for name, (model, x, y) in stages.items():
            started = time.process_time()
            model.train_on_batch(x, y)
            if round_:
                best[name] = min(best.get(name, 1e9), time.process_time() - started)
    added = {name: added_by_steps(name) for name in ("float", "frozen", "distilled")}
    for name, seconds in best.items():
        memory = f", {added[name] / 1e6:.0f} MB, {added[name] / added['float']:.2f} times" if name in added else ""
        print(f"{name}: {seconds * 1000:.0f} ms, {seconds / best['float']:.2f} times a float step{memory}")


def added_by_steps(stage: str) -> int:
    """Bytes that training adds to the resident set."""
    done = subprocess.run([sys.executable, __file__, stage], stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.split()[-1])


def one(stage: str) -> None:
    """Trains for two steps and prints the bytes that they added."""
    from dopt.execute.peak import peak_bytes

    one_thread()
    model, x, y = prepared(stage)
    before = peak_bytes()
    for _ in range(2):
        model.train_on_batch(x, y)
    print(peak_bytes() - before)


if __name__ == "__main__":
    one(sys.argv[1]) if len(sys.argv) > 1 else main()
