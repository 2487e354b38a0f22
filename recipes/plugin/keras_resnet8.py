"""Keras ResNet-8 on CIFAR-10: calibrate, distill from the float network for an epoch, export. Minutes on two cores.

python keras_resnet8.py MODEL.h5 DATA [--strategy Quant_INT8-4] [--steps 55] [--seed 0] [--out out]

MODEL: ResNet-8 of mlcommons/tiny, which takes values from 0 to 255. DATA: folder with train_NN.png and test.png, one picture
of 1,024 RGB pixels a row, and labels.json with the lists "train" and "test".
"""

import argparse
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

import dopt.tf

BATCH = 128
# Adam moves every weight by its rate, however small the gradient: where little is lost, little may move. A rate too large shows
# as a distance that grows in the first steps; these were chosen by that, and by pictures of the training set held back.
RATES = {"Quant_INT8-8": 3e-5, "Quant_INT8-4": 3e-4}


def pictures(folder, names, labels):
    rows = np.concatenate([np.asarray(Image.open(Path(folder) / name).convert("RGB")) for name in names])
    return rows.reshape(-1, 32, 32, 3).astype(np.float32), np.asarray(labels[: len(rows)])


def accuracy(model, x, y):
    return 100 * float(np.mean(model.predict(x, 250).argmax(1) == y))


def distill(quantized, x, steps, rate):
    """Lets the quantized network do what its float copy does on x, without labels."""
    rates = [rate * min(1, (at + 1) / 10) * (1 + np.cos(np.pi * at / steps)) / 2 for at in range(steps)]
    optimizer = tf.keras.optimizers.Adam()

    @tf.function
    def step(batch):
        with tf.GradientTape() as tape:
            quantized(batch, training=True)
            loss = dopt.tf.distillation_loss(quantized)
        variables = quantized.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    data = tf.data.Dataset.from_tensor_slices(x).shuffle(len(x)).map(tf.image.random_flip_left_right)
    for at, batch in enumerate(data.repeat().batch(BATCH).take(steps)):
        optimizer.learning_rate.assign(rates[at])
        loss = step(batch)
        if at % 10 == 0 or at == steps - 1:
            print(f"step {at}: distance from the float network {loss:.4f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--strategy", default="Quant_INT8-8")
    parser.add_argument("--steps", type=int, default=55)
    parser.add_argument("--rate", type=float, help="of Adam; 3e-5, with 4-bit weights 3e-4")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="resnet8-int8")
    args = parser.parse_args()
    tf.keras.utils.set_random_seed(args.seed)
    model = tf.keras.models.load_model(args.model, compile=False)
    labels = json.loads((Path(args.data) / "labels.json").read_text())
    names = sorted(path.name for path in Path(args.data).glob("train_*.png"))
    (x, _), test = pictures(args.data, names, labels["train"]), pictures(args.data, ["test.png"], labels["test"])
    print(f"float {accuracy(model, *test):.1f} %")
    # A trained network keeps its statistics (docs/plugin.md).
    quantized = dopt.tf.prepare(model, "input:1,32,32,3", args.strategy, batch_norm_warm_up=0)
    dopt.tf.calibrate(quantized, np.split(x[: 4 * BATCH], 4))
    print(f"calibrated {accuracy(quantized, *test):.1f} %")
    if args.steps:
        distill(quantized, x, args.steps, args.rate or RATES.get(args.strategy, 3e-5))
        print(f"trained {accuracy(quantized, *test):.1f} %")
    print(dopt.tf.convert(quantized, args.out, "resnet8").quantized)


if __name__ == "__main__":
    main()
