"""A network of a search that is trained fully."""

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dopt.events import Events  # noqa: E402
from dopt.nas.torch_retrain import retrain  # noqa: E402

USER = """
import torch
from torch import nn

class Points(torch.utils.data.Dataset):
    def __init__(self):
        self.inputs = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    def __len__(self):
        return 32
    def __getitem__(self, index):
        return self.inputs[index], int(self.inputs[index].mean() > 0)

class UserModule:
    def __init__(self, epoch, batch_size):
        pass
    def dataset_define(self, dir, is_training):
        return Points()
    def scheduler_define(self, optimizer, steps_per_epoch):
        return torch.optim.lr_scheduler.StepLR(optimizer, steps_per_epoch)
    def metrics_func(self, eval_dataloader, eval_function):
        return sum((eval_function(x).argmax(1) == y).sum().item() for x, y in eval_dataloader) / 32
    def loss_func(self, labels, logits):
        return nn.functional.cross_entropy(logits, labels)

class PreNet(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 8, 3, padding=1)

class PostNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 2)
    def forward(self, inputs):
        return self.head(inputs.mean((2, 3)))
"""

LAYER = {"block": "residual", "in": 8, "out": 16, "stride": 2, "kernel": 3, "hidden": 16, "squeeze": 0}


def test_a_network_is_trained_fully_and_written_with_samples(tmp_path):
    (tmp_path / "user_module.py").write_text(USER, encoding="utf-8")

    def given(epochs, name):
        folder = str(tmp_path)
        return {
            "framework": "PyTorch", "folder": folder, "application": "image_classification", "inputShape": [8, 8, 3],
            "trainFolder": folder, "valFolder": folder, "epochs": epochs, "batchSize": 8, "features": [], "seed": 1,
            "optimizer": {"type": "SGD", "learningRate": 0.05, "betas": [0.9, 0.999], "momentum": 0.9}, "threads": 1,
            "gpu": None, "checkpoint": os.path.join(folder, f"{name}.ckpt"), "layers": [LAYER], "out": folder, "name": name,
            "samples": 20,
        }

    retrain(given(1, "again"), Events())
    again, whole = retrain(given(2, "again"), Events()), retrain(given(2, "whole"), Events())
    weights = [torch.load(each["weights"], map_location="cpu") for each in (again, whole)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert again["score"] == whole["score"]
    with np.load(whole["calibration"]) as calibration, np.load(whole["validation"]) as validation:
        assert calibration["inputs"].shape == validation["inputs"].shape == (20, 3, 8, 8)
        expected = validation["inputs"].mean((1, 2, 3)) > 0
    np.testing.assert_array_equal(np.load(whole["labels"]), expected)
    assert os.path.getsize(whole["model"]) > 0
