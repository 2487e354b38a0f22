"""A project that trains on a GPU, or on the device that stands in for one: the plug-in follows the network's tensors."""

import json

import plugin_networks as networks
import pytest
import torch
import torch.nn.functional as F

import dopt.torch as plugin
from dopt import gpu as gpus


def run(network, x, y, out):
    """Calibration, some training with distillation, a checkpoint, export."""
    quantized = plugin.prepare(network, "x:1,3,16,16", batch_norm_warm_up=1)
    plugin.calibrate(quantized, [x[:4], x[4:]])
    calibrated = quantized(x).detach().cpu()
    optimizer = torch.optim.SGD(quantized.parameters(), 1e-3)
    quantized.train()
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(quantized(x), y) + plugin.distillation_loss(quantized)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    quantized.eval()
    plugin.reestimate(quantized, [x])
    state = {name: value.cpu() for name, value in quantized.state_dict().items()}
    plugin.convert(quantized, str(out), "net")
    return calibrated, losses, state


def test_the_plugin_computes_on_the_device_of_the_network(tmp_path, gpu):
    device = gpus.torch_device(gpu)
    x, y = torch.randn(8, 3, 16, 16), torch.arange(8) % 5
    found = []
    for name, place in (("host", torch.device("cpu")), ("device", device)):
        torch.manual_seed(0)
        network = networks.lively(networks.Residual())
        found.append(run(network.to(place), x.to(place), y.to(place), tmp_path / name))
    (outputs, losses, state), (others, other_losses, other_state) = found
    assert torch.allclose(outputs, others, atol=1e-3 * float(outputs.abs().max()))
    assert other_losses == pytest.approx(losses, rel=0.02)
    assert set(state) == set(other_state)
    parameters = [json.loads((tmp_path / name / "quant_params.json").read_text())["tensors"] for name in ("host", "device")]
    for one, other in zip(*parameters):
        assert one["name"] == other["name"] and one["scale"] == pytest.approx(other["scale"], rel=0.02)
