"""Weights that a network takes over from another one, in PyTorch."""

from typing import Any, Dict, List

from dopt.nas.inherit import alike, overlap


def inherit(network: Any, layers: List[Dict[str, Any]], parent: Dict[str, Any]) -> None:
    """Takes over what the parent's weights have in common with the network's.

    ``layers``: those of the network. ``parent``: ``file`` of a state dict, and its ``layers``.
    """
    import torch

    theirs = torch.load(parent["file"], map_location="cpu")
    usable = alike(layers, parent["layers"])
    with torch.no_grad():
        for name, value in network.state_dict().items():
            part = name.split(".")
            if name not in theirs or (part[0] == "layers" and not usable[int(part[1])]):
                continue
            mine, other = overlap(value.shape, theirs[name].shape, (2, 3) if value.dim() == 4 else ())
            value[mine] = theirs[name][other].to(value.device)
