"""CIFAR-10 for a search: the data, how networks are trained and judged, and what stands before and behind them."""

import glob
import json
import os

import numpy as np
import torch
from PIL import Image
from torch import nn

MEAN = np.array([125.3, 123.0, 113.9], np.float32)
STD = np.array([63.0, 62.1, 66.7], np.float32)


class Pictures(torch.utils.data.Dataset):
    """Files of 1,000 pictures, one a row. The last two files of a folder judge, all others train."""

    def __init__(self, folder, training):
        files = sorted(glob.glob(os.path.join(folder, "train_*.png")))
        with open(os.path.join(folder, "labels.json"), encoding="utf-8") as file:
            labels = json.load(file)["train"]
        self.training = training
        pictures, classes = [], []
        for path in files[:-2] if training else files[-2:]:
            start = 1000 * int(os.path.basename(path)[6:8])
            rows = np.asarray(Image.open(path).convert("RGB"), np.float32)
            pictures.append((rows.reshape(-1, 32, 32, 3) - MEAN) / STD)
            classes.extend(labels[start : start + len(pictures[-1])])
        self.pictures = np.concatenate(pictures).transpose(0, 3, 1, 2) if pictures else np.zeros((0, 3, 32, 32))
        self.classes = np.array(classes, np.int64)

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        picture = torch.from_numpy(np.ascontiguousarray(self.pictures[index]))
        if self.training and torch.rand(()) < 0.5:
            picture = picture.flip(2)
        return picture, int(self.classes[index])


class UserModule:
    def __init__(self, epoch, batch_size):
        self.epoch = epoch
        self.loss = nn.CrossEntropyLoss()

    def dataset_define(self, dir, is_training):
        return Pictures(dir, is_training)

    def scheduler_define(self, optimizer, steps_per_epoch):
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epoch * steps_per_epoch)

    def metrics_func(self, eval_dataloader, eval_function):
        right = total = 0
        for inputs, labels in eval_dataloader:
            right += (eval_function(inputs).argmax(1) == labels).sum().item()
            total += len(labels)
        return 100 * right / total

    def loss_func(self, labels, logits):
        return self.loss(logits, labels)


class PreNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())

    def forward(self, inputs):
        return self.stem(inputs)


class PostNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(256, 10)

    def forward(self, inputs):
        return self.head(inputs.mean((2, 3)))
