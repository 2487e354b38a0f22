"""Stacks of experts whose files hold one matrix an expert: newer transformers joins them while it loads a model.

A network has ``…mlp.experts.gate_up_proj`` [experts, outputs, inputs] where files have ``…experts.3.gate_proj.weight``, or
``w1`` below ``block_sparse_moe``. Read matrix by matrix, a mixture is quantized block by block as other models are.
"""

from typing import Any, Container, List, Optional, Tuple

#: Leaves in the files for a leaf of the network, joined along the outputs.
_PARTS = {
    "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
    "down_proj": (("down_proj",), ("w2",)),
}
#: What networks and files call the layer of experts.
_LAYERS = (".mlp.", ".block_sparse_moe.")


def other_name(name: str) -> str:
    """A weight's name in files that call the layer of experts by its older name."""
    return name.replace(*_LAYERS)


def parts_of(name: str, shape: Tuple[int, ...], stored: Container[str]) -> Optional[List[List[str]]]:
    """Names in the files for each expert of the stack ``name``; None where not all of them are there."""
    owner, _, leaf = name.rpartition(".")
    if len(shape) != 3 or not owner.endswith(".experts"):
        return None
    for experts in (owner, other_name(owner)):
        for leaves in _PARTS.get(leaf, ()):
            names = [[f"{experts}.{number}.{each}.weight" for each in leaves] for number in range(shape[0])]
            if all(each in stored for row in names for each in row):
                return names
    return None


def joined(parts: List[List[Any]]) -> Any:
    """The stack [experts, outputs, inputs] of matrices [outputs, inputs]."""
    import torch

    return torch.stack([torch.cat(row) for row in parts])
