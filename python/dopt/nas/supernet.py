"""What shared weights are in both frameworks: their sizes, and what a network takes of them that goes on alone."""

from typing import Any, Callable, Dict, Tuple

#: Share of the shared weights in those that a network goes on from.
KEEP = 0.5


def sizes_of(layer: Dict[str, Any]) -> Dict[str, Tuple[Any, ...]]:
    """The convolutions of a block by their place in it: channels in and out, window, stride, whether it is depthwise."""
    block, kernel, stride = layer["block"], layer["kernel"], layer["stride"]
    before, hidden, after = layer["in"], layer["hidden"], layer["out"]
    if block == "conv":
        return {"first": (before, after, kernel, stride)}
    if block == "fused":
        return {"first": (before, hidden, kernel, stride), "last": (hidden, after, 1)}
    if block == "mbconv":
        return {"first": (before, hidden, 1), "middle": (hidden, hidden, kernel, stride, True), "last": (hidden, after, 1)}
    shortcut = (before, after, 1, stride)
    if block == "residual":
        return {"first": (before, hidden, kernel, stride), "last": (hidden, after, kernel), "shortcut": shortcut}
    inside = {"first": (before, hidden, 1), "middle": (hidden, hidden, kernel, stride), "last": (hidden, after, 1)}
    return {**inside, "shortcut": shortcut}


def loosened(shared: Any, new: Any, norm: Callable[[Any], Any]) -> Any:
    """Weights between shared and new ones, as tensors of either framework, which ``norm`` gives the length of.

    A network that goes on from weights that were trained before learns from them what they were trained for, and ends
    worse than from new ones; between both it does not (Ash, Adams, "On warm-starting neural network training", NeurIPS 2020,
    section 4). Behind a normalization only the direction of weights counts, and their length says how fast they change: so
    directions are mixed, and the length is that of the new ones. Vectors (biases, and what normalizations multiply by) are
    mixed as they are.
    """
    if len(new.shape) < 2:
        return KEEP * shared + (1 - KEEP) * new
    length = norm(new)
    mixed = KEEP * (length / (norm(shared) + 1e-12)) * shared + (1 - KEEP) * new
    return (length / (norm(mixed) + 1e-12)) * mixed
