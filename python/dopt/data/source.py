"""Where samples come from: the way into this folder, for calibration and for verification alike."""

import hashlib
import os
from concurrent.futures import Future
from typing import Any, Dict, Iterator, List, Optional, Tuple

from dopt.data import arrays, bins, files, pictures
from dopt.data.checks import Monitor, check_finite
from dopt.data.inputs import Input, parse_inputs
from dopt.data.parts import Part, PartsReader, part_sources
from dopt.data.prefetch import prefetch
from dopt.data.preprocess import check_preprocess
from dopt.data.readers import ArrayReader, PictureReader, Sample
from dopt.data.shapes import picture_channels
from dopt.errors import DoptError
from dopt.events import Events

_KINDS = (
    f"pictures ({' '.join(e[1:] for e in pictures.EXTENSIONS)}), .npy/.npz files, "
    "a single .npy or .npz of stacked samples, or a .bin (510/610)"
)


class Source:
    """The samples chosen by a data source, read lazily and in order.

    Iterating gives ``Sample`` objects whose arrays fit the model's inputs. A sample that cannot be used raises
    DoptError, or with ``skipBad`` is left out and listed in ``skipped`` ({file, reason}); when none is left, the error
    of the first is raised. ``warnings`` holds what the last whole iteration found odd.
    """

    def __init__(self, reader: Any, chosen: List[int], skip_bad: bool) -> None:
        self._reader, self._chosen, self._skip_bad = reader, chosen, skip_bad
        self.skipped: List[Dict[str, str]] = []
        self.warnings: List[str] = []

    def __len__(self) -> int:
        """Samples chosen, bad ones included."""
        return len(self._chosen)

    def __iter__(self) -> Iterator[Sample]:
        return self.read_ahead(1)

    def read_ahead(self, workers: int) -> Iterator[Sample]:
        """Iterates with ``workers`` threads decoding ahead; memory does not grow with the number of samples."""
        self.skipped, self.warnings = [], []
        monitor, first = Monitor(), None
        futures = prefetch(self._chosen, self._read, workers if self._reader.parallel else 1)
        try:
            for index, future in zip(self._chosen, futures):
                sample, error = self._settle(index, future)
                if sample is None:
                    first = first or error
                    continue
                monitor.see(sample.name, sample.feeds)
                yield sample
        finally:
            futures.close()
            self._reader.close()
        if first is not None and len(self.skipped) == len(self._chosen):
            raise DoptError(
                "DATA_NONE_LEFT",
                f"None of the {len(self._chosen)} samples can be used. The first: {first.message}",
                place=first.place,
                suggestions=first.suggestions,
            ) from first
        self.warnings = monitor.warnings() + self._reader.warnings()

    def _settle(self, index: int, future: "Future[Sample]") -> Tuple[Optional[Sample], Optional[DoptError]]:
        try:
            return future.result(), None
        except DoptError as error:
            if not self._skip_bad or error.kind != "user":
                raise
            self.skipped.append({"file": self._reader.names[index], "reason": error.message})
            return None, error

    def _read(self, index: int) -> Sample:
        sample = self._reader.read(index)
        check_finite(sample.feeds, sample.name)
        return sample


def open_source(source: Dict[str, Any]) -> Source:
    """Opens the ``DataSource`` of src/config/data.ts. Lists samples and checks settings; reads no sample yet.

    Raises DoptError: DATA_NOT_FOUND, DATA_UNREADABLE, DATA_EMPTY_FOLDER, DATA_NO_SAMPLES, DATA_MIXED_FOLDER,
    DATA_FORMAT, DATA_INDEX, DATA_MULTIPLE_INPUTS, DATA_PARTS_INPUTS, DATA_PARTS_DIFFER, DATA_MEAN_COUNT and the other
    errors about settings.
    """
    reader, _ = _reader(source)
    chosen = _chosen(source, len(reader.names))
    return Source(reader, chosen, source["skipBad"])


def list_samples(params: Dict[str, Any], events: Events) -> Dict[str, Any]:
    """Method ``listSamples`` of src/bridge/protocol.ts: names and a digest, without decoding.

    The digest covers the files of all samples, also of those that ``indices`` leaves out.
    """
    source = params["source"]
    reader, contents = _reader(source)
    _chosen(source, len(reader.names))
    digests = [files.digest(root, names, events.check_cancelled) for root, names in contents]
    return {
        "kind": reader.kind,
        "names": reader.names,
        "sha256": digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest(),
    }


#: Root of a source and the relative paths of its files.
Content = Tuple[str, List[str]]


def _reader(source: Dict[str, Any]) -> Tuple[Any, List[Content]]:
    """The reader for a source, and the files it reads: one entry, or one a part."""
    inputs = parse_inputs(source["inputs"])
    if not source.get("parts"):
        reader, content = _single_reader(source, inputs, True)
        return reader, [content]
    parts, contents = [], []
    for part in part_sources(source, inputs):
        target = parse_inputs(part["inputs"])
        reader, content = _single_reader(part, target, False)
        size = part["preprocess"].get("resize") if reader.kind == "pictures" else None
        scaled = (size[0], size[1]) if isinstance(size, (list, tuple)) else None
        parts.append(Part(target[0].name, part["path"], reader, scaled))
        contents.append(content)
    return PartsReader(parts), contents


def _single_reader(source: Dict[str, Any], inputs: List[Input], deep: bool) -> Tuple[Any, Content]:
    path, preprocess = os.path.abspath(source["path"]), source["preprocess"]
    if os.path.isdir(path):
        root, kind, names = path, *_folder_content(path, deep)
    elif os.path.isfile(path):
        root, names = os.path.dirname(path), [os.path.basename(path)]
        kind = _file_kind(path)
    else:
        raise _not_found(path)
    if kind == "pictures":
        reader: Any = PictureReader(root, names, _picture_input(path, inputs, preprocess), preprocess)
    else:
        reader = ArrayReader(kind, root, names, inputs, preprocess["layout"])
    return reader, (root, names)


def _folder_content(path: str, deep: bool) -> Tuple[str, List[str]]:
    names = files.walk(path, deep)
    if not names:
        raise DoptError(
            "DATA_EMPTY_FOLDER",
            f"The data folder {path} is empty (hidden files do not count{'' if deep else ', nor do sub-folders'}).",
            place=path,
            suggestions=[f"Put samples into it: {_KINDS}."],
        )
    found_pictures = [name for name in names if files.extension(name) in pictures.EXTENSIONS]
    found_arrays = [name for name in names if files.extension(name) in arrays.EXTENSIONS]
    if found_pictures and found_arrays:
        raise DoptError(
            "DATA_MIXED_FOLDER",
            f"The data folder {path} holds both {len(found_pictures)} pictures (such as {found_pictures[0]}) and "
            f"{len(found_arrays)} array files (such as {found_arrays[0]}).",
            place=path,
            suggestions=["Name a folder that holds one kind of samples."],
        )
    if not found_pictures and not found_arrays:
        raise DoptError(
            "DATA_NO_SAMPLES",
            f"The data folder {path} holds no samples; found: {files.summary(names)}, such as {names[0]}.",
            place=path,
            suggestions=_no_sample_advice(names),
        )
    return ("pictures", found_pictures) if found_pictures else ("arrays", found_arrays)


def _no_sample_advice(names: List[str]) -> List[str]:
    advice = [f"Samples are {_KINDS}."]
    if any(files.extension(name) in bins.EXTENSIONS for name in names):
        advice.insert(0, "Name the .bin file itself, not its folder.")
    return advice


def _file_kind(path: str) -> str:
    ending = files.extension(path)
    if ending in pictures.EXTENSIONS:
        return "pictures"
    if ending in arrays.EXTENSIONS:
        return "stacked"
    if ending in bins.EXTENSIONS:
        return "bin"
    raise DoptError(
        "DATA_FORMAT",
        f"{path} is not a kind of data that is understood.",
        place=path,
        suggestions=[f"Data is {_KINDS}, or a folder of pictures or arrays."],
    )


def _picture_input(path: str, inputs: List[Input], preprocess: Dict[str, Any]) -> Input:
    if len(inputs) > 1:
        raise DoptError(
            "DATA_MULTIPLE_INPUTS",
            f"{path} holds pictures, but the model has {len(inputs)} inputs: "
            f"{', '.join(repr(value.name) for value in inputs)}.",
            place=path,
            suggestions=["Give .npz files with one array an input name."],
        )
    check_preprocess(preprocess, picture_channels(inputs[0], preprocess))
    return inputs[0]


def _chosen(source: Dict[str, Any], count: int) -> List[int]:
    indices = source["indices"]
    if indices is None:
        return list(range(count))
    beyond = [index for index in indices if index >= count]
    if beyond or not indices:
        found = f"sample {beyond[0]} is asked for" if beyond else "no sample is chosen"
        raise DoptError(
            "DATA_INDEX",
            f"{source['path']} holds {count} samples, but {found}.",
            place=source["path"],
            suggestions=["If the data has changed since the run began, start again in a new output folder."],
        )
    return list(indices)


def _not_found(path: str) -> DoptError:
    from difflib import get_close_matches

    parent = os.path.dirname(path)
    near = []
    if os.path.isdir(parent) and os.access(parent, os.R_OK):
        near = get_close_matches(os.path.basename(path), os.listdir(parent), 3, 0.6)
    return DoptError(
        "DATA_NOT_FOUND",
        f"There is no data at {path}.",
        place=path,
        suggestions=[f"Did you mean {os.path.join(parent, name)}?" for name in near] or ["Check the path after --data."],
    )
