"""Weights that a network takes over from another one, the same in both frameworks.

Networks are alike in most layers, and what those have learned need not be learned again (Real et al., "Large-scale evolution
of image classifiers", ICML 2017, section 3.5). Where a layer has other numbers of channels or another window, it takes the
first channels and the middle of the window, as shared weights do; what is new keeps the values that it was made with.
"""

from typing import Any, Dict, List, Sequence, Tuple

Slices = Tuple[slice, ...]


def overlap(ours: Sequence[int], theirs: Sequence[int], window: Sequence[int]) -> Tuple[Slices, Slices]:
    """What two arrays of these shapes have in common, in either: the first of every axis, of those in ``window`` the middle.

    The shapes have as many axes.
    """
    mine, other = [], []
    for axis, (our, their) in enumerate(zip(ours, theirs)):
        size = min(our, their)
        starts = ((our - size) // 2, (their - size) // 2) if axis in window else (0, 0)
        mine.append(slice(starts[0], starts[0] + size))
        other.append(slice(starts[1], starts[1] + size))
    return tuple(mine), tuple(other)


def alike(ours: List[Dict[str, Any]], theirs: List[Dict[str, Any]]) -> List[bool]:
    """For each layer of two networks whether both are the same kind of block, with the same parts."""
    return [_kind(our) == _kind(their) for our, their in zip(ours, theirs)]


def _kind(layer: Dict[str, Any]) -> Tuple[Any, ...]:
    straight = layer["stride"] == 1 and layer["in"] == layer["out"]
    return layer["block"], layer["squeeze"] > 0, straight
