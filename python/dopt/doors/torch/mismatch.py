"""Says how weights and a network differ, and which mistake that looks like. Pure functions over names and shapes."""

import difflib
from typing import Dict, List, NamedTuple, Sequence, Tuple

_SHOWN = 10
Shape = Tuple[int, ...]


class Difference(NamedTuple):
    """What keeps weights from a network.

    missing: names that only the network has. unexpected: that only the file has.
    shapes, kinds: name, in the file, in the network.
    """

    missing: List[str]
    unexpected: List[str]
    shapes: List[Tuple[str, Shape, Shape]]
    kinds: List[Tuple[str, str, str]]

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.shapes) + len(self.kinds)


def describe(difference: Difference, expected: Sequence[str], found: Sequence[str]) -> Tuple[str, List[str]]:
    """The message, ten of each sort with near matches, and suggestions drawn from the pattern of the differences.

    expected: all names of the network. found: all names in the file.
    """
    parts = [
        _listed(
            f"{len(difference.missing)} of its {len(expected)} weights are missing", difference.missing, difference.unexpected
        ),
        _listed(f"{len(difference.unexpected)} in the file do not belong to it", difference.unexpected, difference.missing),
        _listed(
            f"{len(difference.shapes)} have another shape",
            [f"{name} is {list(file)} in the file and {list(net)} in the network" for name, file, net in difference.shapes],
        ),
        _listed(
            f"{len(difference.kinds)} are of another kind",
            [f"{name} is {file} in the file and {net} in the network" for name, file, net in difference.kinds],
        ),
    ]
    return "; ".join(part for part in parts if part) + ".", hints(difference, expected, found)


def hints(difference: Difference, expected: Sequence[str], found: Sequence[str]) -> List[str]:
    """The likely mistakes, most likely first; empty when no pattern is seen."""
    common = set(expected) & set(found)
    if not common and found:
        renamed = _prefix(difference.missing, difference.unexpected)
        if renamed:
            return [renamed]
        return ["The file and the network have no name in common: the weights are of another class."]
    result = []
    counts = [
        f"{prefix}* has {in_file} in the file and {in_network} in the network"
        for prefix, (in_file, in_network) in _repeated(found, expected).items()
        if in_file != in_network
    ]
    if counts:
        result.append(f"Another variant is likely (its depth): {'; '.join(counts[:4])}.")
    if difference.shapes and not difference.missing and not difference.unexpected:
        layers = {name.rpartition(".")[0] for name, _, _ in difference.shapes}
        if len(layers) == 1:
            _, file, net = difference.shapes[0]
            result.append(
                f"Only {layers.pop()} differs, so the number of outputs (classes) is likely another: {list(file)} in the file, "
                f"{list(net)} in the network."
            )
        else:
            result.append("All names fit and shapes differ: another width is likely.")
    return result


def _listed(title: str, names: Sequence[str], others: Sequence[str] = ()) -> str:
    if not names:
        return ""
    shown = []
    for name in names[:_SHOWN]:
        near = difflib.get_close_matches(name, others, n=1, cutoff=0.75)
        shown.append(f"{name} (near: {near[0]})" if near else name)
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{title} ({', '.join(shown)}{more})"


def _repeated(found: Sequence[str], expected: Sequence[str]) -> Dict[str, Tuple[int, int]]:
    """How many numbered blocks follow a prefix (``layer1.0.``, ``layer1.1.``), in the file and in the network."""
    in_file, in_network = _blocks(found), _blocks(expected)
    return {prefix: (in_file[prefix], in_network[prefix]) for prefix in in_file if prefix in in_network}


def _blocks(names: Sequence[str]) -> Dict[str, int]:
    numbers: Dict[str, set] = {}
    for name in names:
        parts = name.split(".")
        for place, part in enumerate(parts[:-1]):
            if part.isdigit():
                numbers.setdefault(".".join(parts[:place]) + ".", set()).add(part)
    return {prefix: len(found) for prefix, found in numbers.items()}


def _prefix(missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """When names differ by what stands before them, the suggestion that says so."""
    for short, long, where in ((missing, unexpected, "the file"), (unexpected, missing, "the network")):
        for name in long:
            ends = [other for other in short[:1] if name.endswith("." + other)]
            if ends:
                return (
                    f"In {where} the names begin with '{name[: -len(ends[0])]}', and otherwise they fit: rename them, or give "
                    "the part of the network that has the weights."
                )
    return ""
