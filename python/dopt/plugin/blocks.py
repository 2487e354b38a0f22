"""Where the blocks of a network end, by the names of its layers."""

from typing import Dict, List, Sequence


def block_ends(paths: Sequence[str], separator: str = "/") -> List[str]:
    """The last layer in each part of the network but the last part: where blocks hand on.

    paths: quantized layers in the order of the program. A part is what the beginning of a path names.
    """
    last: Dict[str, str] = {path.split(separator)[0]: path for path in paths}
    return list(last.values())[:-1]
