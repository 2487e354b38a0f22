"""CamVid for a search: pictures with a class for each pixel, and what stands before and behind the searched layers."""

import glob
import os

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

SIZE = (128, 96)
CLASSES, NONE = 11, 11


class Streets(torch.utils.data.Dataset):
    """Pictures of a folder; their classes lie in a folder of the same name with ``annot`` behind it."""

    def __init__(self, folder, training):
        self.training = training
        self.pictures, self.classes = [], []
        for path in sorted(glob.glob(os.path.join(folder, "*.png"))):
            picture = np.asarray(Image.open(path).convert("RGB").resize(SIZE, Image.BILINEAR), np.float32)
            classes = Image.open(os.path.join(folder + "annot", os.path.basename(path))).resize(SIZE, Image.NEAREST)
            self.pictures.append(torch.from_numpy((picture.transpose(2, 0, 1) - 110) / 60))
            self.classes.append(torch.from_numpy(np.asarray(classes, np.int64)))

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        turned = self.training and torch.rand(()) < 0.5
        picture, classes = self.pictures[index], self.classes[index]
        return (picture.flip(2), classes.flip(1)) if turned else (picture, classes)


class UserModule:
    def __init__(self, epoch, batch_size):
        self.epoch = epoch
        self.loss = nn.CrossEntropyLoss(ignore_index=NONE)

    def dataset_define(self, dir, is_training):
        return Streets(dir, is_training)

    def scheduler_define(self, optimizer, steps_per_epoch):
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epoch * steps_per_epoch)

    def metrics_func(self, eval_dataloader, eval_function):
        """Mean over classes of intersection over union, in percent."""
        pairs = torch.zeros(CLASSES * CLASSES)
        for inputs, labels in eval_dataloader:
            known = labels != NONE
            found = eval_function(inputs).argmax(1)[known]
            pairs += torch.bincount(CLASSES * labels[known] + found, minlength=CLASSES * CLASSES)
        pairs = pairs.reshape(CLASSES, CLASSES)
        both = pairs.diagonal()
        either = pairs.sum(0) + pairs.sum(1) - both
        return 100 * (both[either > 0] / either[either > 0]).mean().item()

    def loss_func(self, labels, logits):
        return self.loss(logits, labels)


def conv(channels_in, channels_out, kernel=3, stride=1):
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(channels_out), nn.ReLU())


class PreNet(nn.Module):
    """Maps of a quarter of the picture's height and width."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 16, 3, 2))

    def forward(self, inputs):
        return self.stem(inputs)


class PostNet(nn.Module):
    """Joins the maps of the layers in feature_choose (0 and 2) and of the last one, and gives each pixel a class."""

    def __init__(self):
        super().__init__()
        self.join = nn.ModuleList([conv(32, 32, 1), conv(64, 32, 1), conv(64, 32, 1)])
        self.head = nn.Conv2d(32, CLASSES, 1)

    def forward(self, inputs):
        first, *others = [join(each) for join, each in zip(self.join, inputs)]
        for each in others:
            first = first + F.interpolate(each, size=first.shape[2:], mode="bilinear", align_corners=False)
        return F.interpolate(self.head(first), scale_factor=4.0, mode="bilinear", align_corners=False)
