"""ResNet20 on CIFAR-10: calibrate, retrain for an epoch, export. Minutes on two cores.

python cifar_resnet20.py WEIGHTS.th DATA [--strategy Quant_INT8-4] [--steps 54] [--out out]

WEIGHTS: resnet20 of akamaster/pytorch_resnet_cifar10. DATA: folder with train_NN.png and test.png, one picture of 1,024 RGB
pixels a row, and labels.json with the lists "train" and "test".
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image

import dopt.torch


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.pad = (outputs - inputs) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(x + y)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.avg_pool2d(x, x.size()[3]).view(x.size(0), -1))


def pictures(folder, names, labels):
    rows = np.concatenate([np.asarray(Image.open(Path(folder) / name).convert("RGB")) for name in names])
    x = rows.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2) / 255.0
    mean, std = (np.reshape(values, (3, 1, 1)) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return torch.tensor((x - mean) / std, dtype=torch.float32), torch.tensor(labels[: len(x)])


def accuracy(network, x, y):
    network.eval()
    with torch.no_grad():
        return 100 * float((torch.cat([network(part) for part in x.split(250)]).argmax(1) == y).float().mean())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("weights")
    parser.add_argument("data")
    parser.add_argument("--strategy", default="Quant_INT8-8")
    parser.add_argument("--steps", type=int, default=54)
    parser.add_argument("--out", default="resnet20-int8")
    args = parser.parse_args()
    torch.manual_seed(0)
    network = ResNet20()
    state = torch.load(args.weights, map_location="cpu")["state_dict"].items()
    network.load_state_dict({name.replace("module.", "", 1): value for name, value in state})
    labels = json.loads((Path(args.data) / "labels.json").read_text())
    names = sorted(path.name for path in Path(args.data).glob("train_*.png"))
    (x, y), test = pictures(args.data, names, labels["train"]), pictures(args.data, ["test.png"], labels["test"])
    print(f"float {accuracy(network, *test):.1f} %")
    # A trained network keeps its statistics (docs/plugin.md).
    quantized = dopt.torch.prepare(network, "x:1,3,32,32", args.strategy, batch_norm_warm_up=0)
    dopt.torch.calibrate(quantized, x.split(128), batches=4)
    print(f"calibrated {accuracy(quantized, *test):.1f} %")
    optimizer = torch.optim.SGD(quantized.parameters(), 0.01 if args.strategy == "Quant_INT8-4" else 0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(args.steps, 1))
    for step, chosen in zip(range(args.steps), torch.randperm(len(x)).split(128)):
        quantized.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(quantized(x[chosen].flip(3) if step % 2 else x[chosen]), y[chosen])
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"trained {accuracy(quantized, *test):.1f} %")
    print(dopt.torch.convert(quantized, args.out, "resnet20").quantized)


if __name__ == "__main__":
    main()
