"""Several sources, one for each input of the model: sample i is made of the i-th sample of each."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from dopt.data.inputs import Input
from dopt.data.readers import Sample
from dopt.errors import DoptError


class Part(NamedTuple):
    """One source: ``reader`` as in readers.py for the input ``name``; ``size`` is what pictures are scaled to."""

    name: str
    path: str
    reader: Any
    size: Optional[Tuple[int, int]]


class PartsReader:
    """The readers of all inputs as one. Raises DoptError(DATA_PARTS_DIFFER) when their sample counts differ."""

    kind = "parts"

    def __init__(self, parts: List[Part]) -> None:
        counts = [len(part.reader.names) for part in parts]
        if len(set(counts)) > 1:
            for part in parts:
                # A file whose header cannot be read counts as one sample; what is wrong with it is the better message.
                if len(part.reader.names) == 1:
                    part.reader.read(0)
                    part.reader.close()
            listed = ", ".join(f"{count} for {part.name!r} ({part.path})" for part, count in zip(parts, counts))
            raise DoptError(
                "DATA_PARTS_DIFFER",
                f"The inputs have different numbers of samples: {listed}.",
                place=parts[0].path,
                suggestions=["Give every input the same number of samples, in the same order."],
            )
        self._parts = parts
        self.names = [", ".join(names) for names in zip(*(part.reader.names for part in parts))]
        self.parallel = all(part.reader.parallel for part in parts)
        self._scaled: List[Dict[int, Tuple[int, int]]] = [{} for _ in parts]

    def read(self, index: int) -> Sample:
        """Reads one sample of every part. ``original_size`` is that of the first picture among them."""
        feeds: Dict[str, Any] = {}
        original = None
        for part, scaled in zip(self._parts, self._scaled):
            sample = part.reader.read(index)
            feeds.update(sample.feeds)
            original = original or sample.original_size
            if part.size is not None and sample.original_size not in (None, part.size):
                scaled[index] = sample.original_size
        return Sample(self.names[index], feeds, original)

    def close(self) -> None:
        """Closes the readers of all parts."""
        for part in self._parts:
            part.reader.close()

    def warnings(self) -> List[str]:
        """One sentence for each input whose pictures were scaled since the last call."""
        found = []
        for part, scaled in zip(self._parts, self._scaled):
            if scaled:
                first = min(scaled)
                found.append(
                    f"{len(scaled)} pictures for input {part.name!r} were scaled to {part.size[0]} x {part.size[1]} "
                    f"(height x width), such as {part.reader.names[first]} of {scaled[first][0]} x {scaled[first][1]}"
                )
            scaled.clear()
        return found


def part_sources(source: Dict[str, Any], inputs: List[Input]) -> List[Dict[str, Any]]:
    """A data source for each part, in the order of the model's inputs.

    Raises DoptError(DATA_PARTS_INPUTS) unless the parts name every input of the model once.
    """
    named = [part["input"] for part in source["parts"]]
    wanted = [value.name for value in inputs]
    if sorted(named) != sorted(wanted):
        raise DoptError(
            "DATA_PARTS_INPUTS",
            f"Data is given for {', '.join(map(repr, named))}, but the model's inputs are "
            f"{', '.join(map(repr, wanted))}.",
            place=source["path"],
            suggestions=["Give one source for each input, under the input's name."],
        )
    parts = {part["input"]: part for part in source["parts"]}
    values = {value["name"]: value for value in source["inputs"]}
    return [dict(parts[name], inputs=[values[name]]) for name in wanted]
