"""Weights that a network takes over from another one, in TensorFlow."""

from typing import Any, Dict, List

import numpy as np

from dopt.nas.inherit import alike, overlap


def groups(network: Any) -> Dict[str, List[Any]]:
    """The variables of a network by its parts: ``pre``, ``post``, and the number of each layer."""
    layers = {str(at): layer.variables for at, layer in enumerate(network.searched)}
    return {"pre": network.pre_net.variables, **layers, "post": network.post_net.variables}


def save(file: Any, network: Any) -> None:
    """Writes all variables under the names of their parts."""
    found = groups(network).items()
    np.savez(file, **{f"{part}_{at}": each.numpy() for part, all_ in found for at, each in enumerate(all_)})


def restore(path: str, network: Any) -> None:
    """Takes up what ``save`` wrote of the same network."""
    with np.load(path) as stored:
        for part, variables in groups(network).items():
            for at, each in enumerate(variables):
                each.assign(stored[f"{part}_{at}"])


def inherit(network: Any, layers: List[Dict[str, Any]], parent: Dict[str, Any]) -> None:
    """Takes over what the parent's weights have in common with the network's.

    ``layers``: those of the network. ``parent``: ``file`` that ``save`` wrote, and its ``layers``.
    """
    usable = alike(layers, parent["layers"])
    with np.load(parent["file"]) as stored:
        for part, variables in groups(network).items():
            if part.isdigit() and not usable[int(part)]:
                continue
            for at, each in enumerate(variables):
                theirs = stored[f"{part}_{at}"]
                mine, other = overlap(each.shape, theirs.shape, (0, 1) if theirs.ndim == 4 else ())
                value = each.numpy()
                value[mine] = theirs[other]
                each.assign(value)
