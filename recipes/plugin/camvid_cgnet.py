"""CGNet on CamVid: segmentation, calibrated and exported without training. Minutes on two cores.

python camvid_cgnet.py WEIGHTS.pth DATA [OUT]

WEIGHTS: CGNet M3N21 of wutianyiRosun/CGNet. DATA: train, test (pictures 480x360), testannot (classes 0..10, 11 for none).
"""

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image

import dopt.torch


def norm(channels):
    return {"bn": nn.BatchNorm2d(channels, eps=1e-3), "act": nn.PReLU(channels)}


def conv(inputs, outputs, kernel, stride=1, groups=1, dilation=1, act=False):
    layer = nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, groups, bias=False)
    return nn.Sequential(OrderedDict(conv=layer, **(norm(outputs) if act else {})))


class Context(nn.Module):  # near and far features joined, and a gate from the channels' means; `down` halves the size
    def __init__(self, inputs, outputs, dilation, reduction, down=False):
        super().__init__()
        self.down, inner = down, outputs if down else outputs // 2
        self.conv1x1 = conv(inputs, inner, 3 if down else 1, 2 if down else 1, act=True)
        self.F_loc, self.F_sur = (conv(inner, inner, 3, groups=inner, dilation=each) for each in (1, dilation))
        if down:
            self.bn, self.act = norm(2 * inner).values()
            self.reduce = conv(2 * inner, outputs, 1)
        else:
            self.bn_prelu = nn.Sequential(OrderedDict(norm(outputs)))
        gate = (nn.Linear(outputs, outputs // reduction), nn.ReLU(), nn.Linear(outputs // reduction, outputs), nn.Sigmoid())
        self.F_glo = nn.Sequential(OrderedDict(fc=nn.Sequential(*gate)))

    def forward(self, x):
        y = self.conv1x1(x)
        y = torch.cat([self.F_loc(y), self.F_sur(y)], 1)
        y = self.reduce(self.act(self.bn(y))) if self.down else self.bn_prelu(y)
        gated = y * self.F_glo(y.mean([2, 3]))[:, :, None, None]
        return gated if self.down else x + gated


class CGNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.level1_0, self.level1_1, self.level1_2 = (conv(n, 32, 3, s, act=True) for n, s in ((3, 2), (32, 1), (32, 1)))
        self.sample = nn.AvgPool2d(3, 2, 1)
        self.b1, self.bn_prelu_2, self.bn_prelu_3 = (nn.Sequential(OrderedDict(norm(n))) for n in (35, 131, 256))
        self.level2_0, self.level3_0 = Context(35, 64, 2, 8, down=True), Context(131, 128, 4, 16, down=True)
        self.level2 = nn.Sequential(*(Context(64, 64, 2, 8) for _ in range(2)))
        self.level3 = nn.Sequential(*(Context(128, 128, 4, 16) for _ in range(20)))
        self.classifier = nn.Sequential(conv(256, 11, 1))

    def forward(self, x):
        half, y = self.sample(x), self.level1_2(self.level1_1(self.level1_0(x)))
        first = self.level2_0(self.b1(torch.cat([y, half], 1)))
        y = self.bn_prelu_2(torch.cat([self.level2(first), first, self.sample(half)], 1))
        first = self.level3_0(y)
        y = self.classifier(self.bn_prelu_3(torch.cat([first, self.level3(first)], 1)))
        return F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=False)


def picture(path):
    x = np.asarray(Image.open(path).convert("RGB"), np.float32) - np.float32([105.65775, 103.329834, 99.625404])
    return torch.from_numpy(x.transpose(2, 0, 1)[None])


def mean_iou(network, paths, wanted):
    with torch.no_grad():
        found = [network.eval()(picture(path)).argmax(1)[0].numpy() for path in paths]
    pairs = (12 * w.ravel() + f.ravel() for f, w in zip(found, wanted))
    counts = sum(np.bincount(pair, minlength=144) for pair in pairs).reshape(12, 12)[:11, :11]
    return 100 * np.mean(counts.diagonal() / np.maximum(counts.sum(0) + counts.sum(1) - counts.diagonal(), 1))


def main():
    weights, data, out = sys.argv[1], Path(sys.argv[2]), (sys.argv + ["cgnet-int8"])[3]
    network, state = CGNet(), torch.load(weights, map_location="cpu")
    network.load_state_dict({name.replace("module.", "", 1): value for name, value in state.get("model", state).items()})
    training, paths = (sorted((data / name).glob("*.png")) for name in ("train", "test"))
    wanted = [np.asarray(Image.open(data / "testannot" / path.name)) for path in paths]
    print(f"float {mean_iou(network, paths, wanted):.1f} mIoU")
    quantized = dopt.torch.prepare(network.eval(), "x:1,3,360,480", "Quant_INT8-8")
    dopt.torch.calibrate(quantized, map(picture, training), batches=8)
    print(f"calibrated {mean_iou(quantized, paths, wanted):.1f} mIoU")
    print(dopt.torch.convert(quantized, out, "cgnet").quantized)


if __name__ == "__main__":
    main()
