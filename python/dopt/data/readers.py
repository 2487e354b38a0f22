"""The kinds of data source behind one interface: how many samples, their names, and reading one of them."""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from dopt.data import arrays, bins
from dopt.data.blocks import BlockReader, StoredArray
from dopt.data.inputs import Input, Rows, cast, check_rows, shape_text, split
from dopt.data.pictures import decode
from dopt.data.preprocess import to_tensor
from dopt.data.shapes import picture_channels, picture_misfit
from dopt.errors import DoptError


class Sample(NamedTuple):
    """One feed of the model: arrays by input name, batch dimension included.

    ``original_size`` is [height, width] of a picture after EXIF rotation and before all else; None for arrays.
    """

    name: str
    feeds: Dict[str, Any]
    original_size: Optional[Tuple[int, int]]


class PictureReader:
    """Picture files; ``files`` are paths relative to ``root``, one sample each. Safe to call from several threads."""

    kind = "pictures"
    parallel = True

    def __init__(self, root: str, files: List[str], target: Input, preprocess: Dict[str, Any]) -> None:
        self.names = files
        self._root, self._input = root, target
        channels = picture_channels(target, preprocess)
        # A model with one input channel takes gray pictures, whatever the colour setting says.
        self._preprocess = dict(preprocess, color="gray") if channels == 1 else preprocess

    def read(self, index: int) -> Sample:
        """Decodes and preprocesses one picture."""
        name = self.names[index]
        path = os.path.join(self._root, name)
        image = decode(path, self._preprocess["color"] == "gray")
        tensor = to_tensor(image, self._preprocess, path)
        unknown = self._input.shape is None
        rows = Rows(1, (1,) + tensor.shape) if unknown else split(tensor.shape, self._input.shape, False)
        if rows is None or rows.count != 1:
            raise picture_misfit(path, self._input, tensor.shape, self._preprocess)
        tensor = cast(tensor.reshape(rows.shape), self._input.dtype, path, self._input.name)
        return Sample(name, {self._input.name: tensor}, (image.size[1], image.size[0]))

    def close(self) -> None:
        """Nothing stays open between reads."""

    def warnings(self) -> List[str]:
        """What reading found odd: nothing."""
        return []


class ArrayReader:
    """.npy, .npz and .bin files. A file whose header cannot be read counts as one sample, so that it can be named.

    Not for several threads at once: it keeps one file open and reads it front to back.
    """

    parallel = False

    def __init__(self, kind: str, root: str, files: List[str], inputs: List[Input], layout: str) -> None:
        self.kind = kind
        self.names: List[str] = []
        self._root, self._inputs, self._layout = root, inputs, layout
        self._samples: List[Tuple[str, int]] = []
        self._open_file: Optional[str] = None
        self._blocks: Dict[str, BlockReader] = {}
        for file in files:
            self._list(file)

    def read(self, index: int) -> Sample:
        """Reads one sample from its file."""
        file, row = self._samples[index]
        if self._open_file != file:
            self.close()
            stored, splits = self._describe(file)
            place = os.path.join(self._root, file)
            self._blocks = {name: BlockReader(stored[name], splits[name], place) for name in stored}
            self._open_file = file
        place = os.path.join(self._root, self.names[index])
        feeds = {
            value.name: cast(self._blocks[value.name].read(row), value.dtype, place, value.name)
            for value in self._inputs
        }
        return Sample(self.names[index], feeds, None)

    def close(self) -> None:
        """Closes the file that is open."""
        for block in self._blocks.values():
            block.close()
        self._blocks, self._open_file = {}, None

    def warnings(self) -> List[str]:
        """What reading found odd: nothing."""
        return []

    def _list(self, file: str) -> None:
        try:
            count = next(iter(self._describe(file)[1].values())).count
        except DoptError:
            count = 1
            numbered = False
        else:
            numbered = count > 1 or self.kind != "arrays"
        for row in range(count):
            self.names.append(f"{file}#{row}" if numbered else file)
            self._samples.append((file, row))

    def _describe(self, file: str) -> Tuple[Dict[str, StoredArray], Dict[str, Rows]]:
        path = os.path.join(self._root, file)
        if self.kind == "bin":
            stored = bins.stored_bin(path, self._inputs, self._layout)
        else:
            stored = arrays.stored_arrays(path, self._inputs)
        splits = {}
        for value in self._inputs:
            array = stored[value.name]
            shape = array.sample_shape()
            rows = split(shape, value.shape, self.kind != "arrays")
            if rows is None:
                raise _array_misfit(path, value, shape)
            check_rows(rows, array.dtype.itemsize, path)
            splits[value.name] = rows
        counts = {name: rows.count for name, rows in splits.items()}
        if len(set(counts.values())) > 1:
            raise DoptError(
                "DATA_ROWS_DIFFER",
                f"{path} holds different numbers of samples for its inputs: "
                + ", ".join(f"{count} for {name!r}" for name, count in counts.items()) + ".",
                place=path,
                suggestions=["Give every input the same number of samples."],
            )
        return stored, splits


def _array_misfit(path: str, value: Input, shape: Tuple[int, ...]) -> DoptError:
    suggestions = [f"Save arrays of shape {value.text()}, or a stack of them with one more dimension in front."]
    if len(shape) == 4 and value.shape is not None and len(value.shape) == 4:
        for order, words in (((0, 2, 3, 1), "NHWC (transpose(0, 2, 3, 1))"), ((0, 3, 1, 2), "NCHW (transpose(0, 3, 1, 2))")):
            if split(tuple(shape[axis] for axis in order), value.shape, False):
                suggestions.insert(0, f"The dimensions fit in another order: save the array as {words}.")
                if path.lower().endswith(".bin") and order == (0, 2, 3, 1):
                    suggestions.insert(0, "The dimensions fit as NHWC: --layout nhwc (for files of kind 510).")
        if all(isinstance(extent, int) for extent in value.shape[1:]) or isinstance(value.shape[0], int):
            fixed = ",".join(map(str, (1,) + tuple(shape[1:])))
            suggestions.append(f'If the model can take that size: --input-shape "{value.name}:{fixed}"')
    return DoptError(
        "DATA_SHAPE",
        f"{path}: the model's input {value.name!r} takes {value.text()}, but the array has the shape "
        f"{shape_text(shape)}.",
        place=path,
        suggestions=suggestions,
    )
