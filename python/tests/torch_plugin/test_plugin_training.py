"""Training: gradients, stability, distillation, batch statistics, mixed precision, several processes, checkpoints."""

import copy
import io
import os
import subprocess
import sys
from pathlib import Path

import plugin_networks as networks
import pytest
import torch
import torch.nn.functional as F

import dopt.torch as plugin
from dopt.torch.functions import RoundActivation, RoundWeight
from dopt.torch.network import layers_in


def task(count=64, size=32, classes=4):
    """Pictures with a bright quadrant: which one is the class."""
    x, y = torch.randn(count, 3, size, size) * 0.5, torch.arange(count) % classes
    half = size // 2
    for index in range(count):
        row, column = divmod(int(y[index]), 2)
        x[index, :, row * half : (row + 1) * half, column * half : (column + 1) * half] += 1
    return x, y


def train(network, x, y, steps, optimizer, batch=16, distill=0.0):
    network.train()
    losses = []
    for step in range(steps):
        chosen = torch.arange(step * batch, (step + 1) * batch) % len(x)
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x[chosen]), y[chosen])
        if distill:
            loss = loss + distill * plugin.distillation_loss(network)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def trained(x, y, steps=20):
    """A float network whose statistics fit its data."""
    network = networks.Mobile()
    train(network, x, y, steps, torch.optim.Adam(network.parameters(), 3e-3))
    return network.eval()


def loss_of(network, x, y):
    network.eval()
    with torch.no_grad():
        return float(F.cross_entropy(network(x), y))


def test_gradients_of_an_activation_are_those_of_lsq():
    """Against the formulas written out, value by value (arXiv:1902.08153, equation 3; arXiv:2004.09576, section 3.1)."""
    x = torch.linspace(-3.01, 6, 41).requires_grad_()
    log_scale, shift = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    scale, zero, limits = torch.tensor(0.02), torch.tensor(60.0), (0, 255)
    y = RoundActivation.apply(x, log_scale, shift, scale, zero, limits, False)
    weights = torch.linspace(1, 2, 41) / 100_000
    (y * weights).sum().backward()
    position = x.detach() / scale
    low, high = limits[0] - zero, limits[1] - zero
    inside = (position >= low) & (position <= high)
    slope = torch.where(inside, position.round() - position, torch.where(position < low, low, high))
    norm = 1 / (41 * 255) ** 0.5
    assert torch.equal(x.grad, weights * inside)
    assert torch.allclose(log_scale.grad, (weights * slope).sum() * norm / scale, rtol=1e-3)
    assert torch.allclose(shift.grad, -(weights * ~inside).sum() * norm / (scale * 255), rtol=1e-3)
    assert torch.equal(y.detach(), position.round().clamp(float(low), float(high)) * scale)


@pytest.mark.parametrize("axis", [0, 1])
def test_gradients_of_a_weight_go_to_weight_scale_and_factor(axis):
    weight = torch.randn(5, 6, 3, requires_grad=True)
    channels = weight.shape[axis]
    shape = tuple(channels if at == axis else 1 for at in range(3))
    scale, factor = torch.full((channels,), 0.1), torch.linspace(-1, 2, channels).requires_grad_()
    log_scale = torch.zeros(channels, requires_grad=True)
    y = RoundWeight.apply(weight, log_scale, factor, scale, 7, shape)
    upstream = torch.randn_like(y) / 10_000
    (y * upstream).sum().backward()
    position = weight.detach() / 0.1
    integers, inside = position.round().clamp(-7, 7), position.abs() <= 7
    others = tuple(at for at in range(3) if at != axis)
    stretched = upstream * factor.detach().view(shape)
    assert torch.allclose(weight.grad, stretched * inside, atol=1e-8)
    assert torch.allclose(factor.grad, (upstream * integers).sum(others) * 0.1, atol=1e-7)
    norm = 1 / (weight.numel() / channels * 7) ** 0.5
    expected = (stretched * torch.where(inside, integers - position, integers)).sum(others) / 0.1 * norm
    assert expected.abs().max() < 1 and torch.allclose(log_scale.grad, expected, atol=1e-6)


@pytest.mark.parametrize(("method", "steps"), [("lsq", 300), ("pact", 100), ("ema", 100)])
def test_a_mobile_network_trains_stably(method, steps):
    """Depthwise layers, hard-swish, squeeze and excitation: the loss ends below that of calibration and stays finite."""
    x, y = task()
    network = networks.Mobile()
    train(network, x, y, 60, torch.optim.Adam(network.parameters(), 3e-3))
    quantized = plugin.prepare(network.eval(), "x:1,3,32,32", "Quant_INT8-4", quantizer=method)
    plugin.calibrate(quantized, x.split(16))
    before = loss_of(quantized, x, y)
    losses = train(quantized, x, y, steps, torch.optim.Adam(quantized.parameters(), 1e-3))
    assert all(torch.isfinite(torch.tensor(losses))) and max(losses[60:]) < 2 * before + 0.5
    assert loss_of(quantized, x, y) < before
    plugin.reestimate(quantized, x.split(16))
    assert loss_of(quantized, x, y) < before


def test_training_without_calibration_takes_ranges_from_the_first_batch():
    x, y = task(16)
    quantized = plugin.prepare(networks.Mobile().eval(), "x:1,3,32,32")
    with pytest.warns(UserWarning, match="no range yet"):
        quantized.eval()(x)
    train(quantized, x, y, 2, torch.optim.SGD(quantized.parameters(), 0.01))
    assert all(layer.is_calibrated and layer.quantizer.is_calibrated for layer in layers_in(quantized))


def test_statistics_are_frozen_after_the_warm_up():
    x, y = task(32)
    quantized = plugin.prepare(networks.Mobile().eval(), "x:1,3,32,32", batch_norm_warm_up=3)
    norm = quantized.stem[1]
    optimizer = torch.optim.SGD(quantized.parameters(), 0.01)
    train(quantized, x, y, 3, optimizer)
    frozen = norm.running_mean.clone()
    assert not torch.equal(frozen, torch.zeros_like(frozen))
    train(quantized, x, y, 3, optimizer)
    assert torch.equal(norm.running_mean, frozen)
    plugin.reestimate(quantized, x.split(16))
    assert not torch.equal(norm.running_mean, frozen)
    # A plain mean over the batches, as the rounded network sees them.
    assert int(norm.num_batches_tracked) == 2


def test_distillation_brings_the_float_network_near():
    x, y = task(32)
    network = networks.Mobile()
    train(network, x, y, 40, torch.optim.Adam(network.parameters(), 3e-3))
    network.eval()
    quantized = plugin.prepare(network, "x:1,3,32,32", "Quant_INT8-4", batch_norm_warm_up=0)
    plugin.calibrate(quantized, [x])
    with torch.no_grad():
        wanted = network(x)
        before = float((quantized.eval()(x) - wanted).abs().mean())
    optimizer = torch.optim.Adam(quantized.parameters(), 1e-3)
    for _ in range(60):
        quantized.train()
        optimizer.zero_grad()
        quantized(x)
        plugin.distillation_loss(quantized).backward()
        optimizer.step()
    with torch.no_grad():
        assert float((quantized.eval()(x) - wanted).abs().mean()) < 0.75 * before


def test_a_single_score_is_no_distribution_over_classes():
    from dopt.torch.distill import _distance

    ours, theirs = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [2.0]])
    assert float(_distance(ours, theirs)) == pytest.approx(0.25)
    assert float(_distance(torch.cat([ours, -ours], 1), torch.cat([theirs, -theirs], 1))) != pytest.approx(0.25)


def test_checkpoints_copies_and_the_names_of_the_float_network():
    x, y = task(16)
    network = networks.lively(networks.Mobile())
    quantized = plugin.prepare(network, "x:1,3,32,32")
    assert set(network.state_dict()) <= set(quantized.state_dict())
    plugin.calibrate(quantized, [x])
    train(quantized, x, y, 2, torch.optim.SGD(quantized.parameters(), 0.01))
    buffer = io.BytesIO()
    torch.save(quantized.state_dict(), buffer)
    buffer.seek(0)
    again = plugin.prepare(network, "x:1,3,32,32")
    again.load_state_dict(torch.load(buffer))
    twin = copy.deepcopy(quantized)
    with torch.no_grad():
        expected = quantized.eval()(x)
        assert torch.equal(again.eval()(x), expected) and torch.equal(twin.eval()(x), expected)


def test_mixed_precision_trains_and_keeps_float32_scales():
    x, y = task(16)
    quantized = plugin.prepare(trained(x, y), "x:1,3,32,32")
    plugin.calibrate(quantized, [x])
    quantized.train()
    optimizer = torch.optim.SGD(quantized.parameters(), 0.01)
    before = quantized.stem[0].weight_log_scale.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(quantized(x).float(), y)
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss) and not torch.equal(quantized.stem[0].weight_log_scale, before)
    assert all(parameter.dtype == torch.float32 for parameter in quantized.parameters())


DDP = """
import os, sys, torch
sys.path[:0] = {paths!r}
import plugin_networks as networks, dopt.torch as plugin
import torch.distributed as dist, torch.nn.functional as F
torch.manual_seed(0)
torch.set_num_threads(1)
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
quantized = plugin.prepare(networks.Mobile().eval(), "x:1,3,32,32")
torch.manual_seed(rank)
x, y = torch.randn(8, 3, 32, 32), torch.arange(8) % 4
plugin.calibrate(quantized, [x])
net = torch.nn.parallel.DistributedDataParallel(quantized)
optimizer = torch.optim.SGD(net.parameters(), 0.05)
net.train()
for _ in range(3):
    optimizer.zero_grad()
    (F.cross_entropy(net(x), y) + 0.05 * plugin.distillation_loss(net)).backward()
    optimizer.step()
net(x)  # hands the buffers of rank 0 on
state = [value.double().flatten() for name, value in sorted(quantized.state_dict().items()) if "running" not in name and "tracked" not in name]
torch.save(torch.cat(state), sys.argv[2] + "." + str(rank))
if rank == 0:
    torch.save(net.state_dict(), sys.argv[2] + ".pth")
"""


def test_two_processes_hold_the_same_network(tmp_path):
    here = Path(__file__).resolve()
    script = tmp_path / "train.py"
    script.write_text(DDP.format(paths=[str(here.parents[2]), str(here.parent)]))
    meeting = str(tmp_path / "meeting")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, str(script), str(rank), meeting], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said[-2000:]
    assert torch.equal(torch.load(f"{meeting}.0"), torch.load(f"{meeting}.1"))
    from dopt.torch.checkpoint import load_state

    load_state(plugin.prepare(networks.Mobile().eval(), "x:1,3,32,32"), f"{meeting}.pth")
