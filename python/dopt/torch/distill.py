"""Distillation: the quantized network learns from its own float copy, at its outputs and at the ends of its blocks."""

import copy
from typing import Any, Dict, List

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from dopt.plugin.blocks import block_ends
from dopt.plugin.refusals import no_step
from dopt.torch.network import layers_in, quantized_network, set_modes


class Teacher:
    """The float network as it was when distillation began, and results at the ends of blocks of both."""

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        set_modes(self.network, "off")
        self.wanted: Dict[str, Tensor] = {}
        self.got: Dict[str, Tensor] = {}
        ends = block_ends([layer.path for layer in layers_in(network)], ".")
        for place, kept in ((self.network, self.wanted), (network, self.got)):
            for layer in layers_in(place):
                if layer.path in ends:
                    layer.register_forward_hook(_keep(kept, layer.path))

    def loss(self, args: Any, kwargs: Any, output: Any) -> Tensor:
        """Distance of a step's outputs and block ends from those of the float network."""
        with torch.no_grad():
            wanted = self.network(*args, **kwargs)
        pairs = list(zip(_tensors(output), _tensors(wanted)))
        at_outputs = [_distance(ours, theirs) for ours, theirs in pairs]
        inside = [_relative(self.got[path], self.wanted[path]) for path in self.wanted if path in self.got]
        self.got.clear()
        total = torch.stack(at_outputs).mean()
        return total + torch.stack(inside).mean() if inside else total


def distillation_loss(quantized: nn.Module) -> Tensor:
    """How far the last training step was from the float network, as a loss to be added to the task's: a twentieth of it.

    Kullback-Leibler divergence between class scores [N, C] as they are before a softmax (Hinton et al., arXiv:1503.02531),
    elsewhere squared error over the float network's power; plus the mean of the latter at the ends of blocks, from the
    second call on. The first call takes the float copy: make it before weights move. Raises DoptError PLUGIN_NO_STEP before a step in training mode.
    """
    network = quantized_network(quantized)
    plan = network.dopt_plan
    if plan.last is None:
        raise no_step("net.train(); loss = task(net(x), y) + get_quant_loss(net) / 20.")
    last, plan.last = plan.last, None
    if plan.teacher is None:
        plan.teacher = Teacher(network)
    return plan.teacher.loss(*last)


def _keep(kept: Dict[str, Tensor], path: str) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if not module.training or torch.is_grad_enabled():
            kept[path] = output

    return hook


def _tensors(value: Any) -> List[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        value = value.values()
    return [tensor for each in value for tensor in _tensors(each)] if hasattr(value, "__iter__") else []


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    if ours.dim() != 2 or ours.shape[1] == 1:
        return _relative(ours, theirs)
    targets = functional.softmax(theirs.float(), -1)
    return functional.kl_div(functional.log_softmax(ours.float(), -1), targets, reduction="batchmean")


def _relative(ours: Tensor, theirs: Tensor) -> Tensor:
    ours, theirs = ours.float(), theirs.float()
    return (ours - theirs).pow(2).mean() / theirs.pow(2).mean().clamp(min=1e-12)
