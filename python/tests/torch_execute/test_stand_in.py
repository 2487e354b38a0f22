"""The device that stands in for a GPU, used by several threads at once as a calibration on several GPUs does."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import stand_in
import torch


def test_threads_share_the_device(monkeypatch):
    if stand_in.install() is None:
        pytest.skip(f"PyTorch {torch.__version__} takes no device written in Python")
    monkeypatch.setattr(stand_in, "_SWEEP", 8)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(_sums_are_right, range(4)))
    finally:
        sys.setswitchinterval(interval)


def _sums_are_right(seed):
    generator = torch.Generator().manual_seed(seed)
    right = []
    for _ in range(200):
        x = torch.randn(64, generator=generator).double()
        on_device = x.to(f"{stand_in.NAME}:0")
        found = torch.stack([on_device.sum(), (on_device * on_device).sum(), torch.isfinite(on_device).sum().double()])
        right.append(found.tolist() == [x.sum().item(), (x * x).sum().item(), 64])
    return all(right)
