"""Sizes of shared weights, the same in both frameworks."""

from typing import Any, Dict, Tuple


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
