"""Low-rank adapters on a quantized base: Hu et al., "LoRA", arXiv:2106.09685; Meng et al., "PiSSA", arXiv:2404.02948."""

import math
from typing import Any, List, Optional

import torch
from torch import nn

from dopt.errors import DoptError
from dopt.plugin.near import near_matches

METHODS = ("kaiming", "gaussian", "pissa")


def make_trainable(model: nn.Module, layers: List[Any], method: Optional[str]) -> None:
    """Freezes everything but adapters and initializes them; see ``do_opt.set_trainable_lora``."""
    adapted = [layer for layer in layers if layer.lora_A is not None]
    if not adapted:
        raise DoptError(
            "LLM_LORA",
            "No layer has an adapter.",
            suggestions=['Give layers of dopt_config.json "lora_config": {"rank": 32, "alpha": 32}.'],
        )
    if method is not None and method not in METHODS:
        near = near_matches(method, METHODS)
        raise DoptError(
            "LLM_LORA",
            f"Adapters are initialized by {', '.join(METHODS)} or nothing, not by {method!r}.",
            suggestions=[f"Did you mean {near[0]}?"] if near else [],
        )
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for layer in adapted:
        _initialize(layer, method)
        layer.lora_A.requires_grad_(True)
        layer.lora_B.requires_grad_(True)


def _initialize(layer: Any, method: Optional[str]) -> None:
    down, up = layer.lora_A.data, layer.lora_B.data
    rank = down.shape[0]
    up.zero_()
    if method is None:
        down.zero_()
    elif method == "kaiming":
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))
    elif method == "gaussian":
        nn.init.normal_(down, std=1.0 / rank)
    else:
        # The base keeps what the adapter does not begin with, so that the sum is the weight as it was.
        left, values, right = torch.linalg.svd(layer.weight.data.float(), full_matrices=False)
        root = (values[:rank] / layer.lora_scaling).sqrt()
        kept = len(root)
        down.zero_()
        down[:kept] = root[:, None] * right[:rank]
        up[:, :kept] = left[:, :rank] * root
        layer.weight.data.sub_((layer.lora_scaling * (up @ down)).to(layer.weight.dtype))
        layer.refresh_scales()
