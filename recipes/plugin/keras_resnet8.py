"""Keras ResNet-8 on CIFAR-10: calibrate, retrain shortly, export. Minutes on two cores.

python keras_resnet8.py MODEL.h5 DATA [--strategy Quant_INT8-4] [--steps 54] [--out out]

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


def pictures(folder, names, labels):
    rows = np.concatenate([np.asarray(Image.open(Path(folder) / name).convert("RGB")) for name in names])
    return rows.reshape(-1, 32, 32, 3).astype(np.float32), np.asarray(labels[: len(rows)])


def accuracy(model, x, y):
    return 100 * float(np.mean(model.predict(x, 250).argmax(1) == y))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--strategy", default="Quant_INT8-8")
    parser.add_argument("--steps", type=int, default=54)
    # Small steps at 8 bits, where little is lost; 4 bits take about 1e-3.
    parser.add_argument("--rate", type=float, default=2e-6)
    parser.add_argument("--out", default="resnet8-int8")
    args = parser.parse_args()
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.models.load_model(args.model, compile=False)
    labels = json.loads((Path(args.data) / "labels.json").read_text())
    names = sorted(path.name for path in Path(args.data).glob("train_*.png"))
    (x, y), test = pictures(args.data, names, labels["train"]), pictures(args.data, ["test.png"], labels["test"])
    print(f"float {accuracy(model, *test):.1f} %")
    # A trained network keeps its statistics (docs/plugin.md).
    quantized = dopt.tf.prepare(model, "input:1,32,32,3", args.strategy, batch_norm_warm_up=0)
    dopt.tf.calibrate(quantized, np.split(x[: 4 * BATCH], 4))
    print(f"calibrated {accuracy(quantized, *test):.1f} %")
    if args.steps:
        rate = tf.keras.optimizers.schedules.CosineDecay(args.rate, args.steps)
        # Inputs up to 255 make gradients of the first layer large: Adam does not mind.
        quantized.compile(tf.keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
        data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).repeat().batch(BATCH)
        data = data.map(lambda x, y: (tf.image.random_flip_left_right(x), y))
        quantized.fit(data, steps_per_epoch=args.steps, verbose=2)
        print(f"trained {accuracy(quantized, *test):.1f} %")
    print(dopt.tf.convert(quantized, args.out, "resnet8").quantized)


if __name__ == "__main__":
    main()
