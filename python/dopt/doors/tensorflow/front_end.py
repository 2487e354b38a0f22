"""The part of a graph that ONNX has no operators for: audio front ends. It stays in TensorFlow and makes the features.

It takes the bytes of wav files, or samples as any network does.

The cut lies behind the last unknown operator, where every way from the inputs to the outputs passes through one tensor.
"""

import io
import os
import struct
from typing import Any, Dict, Iterator, List, NamedTuple, Set, Tuple

from dopt.doors.tensorflow.border import input_shapes, needed, source
from dopt.doors.tensorflow.session import reason_of
from dopt.errors import DoptError

#: Rate and length of the silence that the shape of the features is found with: a second, as speech commands have.
_RATE, _SECONDS = 16000, 1


class FrontEnd(NamedTuple):
    """Tensors that the front end takes and gives, and its operators for people; ``takes``: wav or samples."""

    takes: str
    input: str
    features: str
    description: str


def find_front_end(session: Any, graph_def: Any, path: str, unknown_ops: Set[str], outputs: List[str]) -> FrontEnd:
    """The cut behind all operators of ``unknown_ops``. Raises DoptError MODEL_OPERATORS when there is no single one."""
    nodes = {node.name: node for node in graph_def.node}
    reached = needed(graph_def, outputs, set())
    unknown = [node for node in graph_def.node if node.op in unknown_ops and node.name in reached]
    last = [n for n in unknown if not any(o.name != n.name and n.name in needed(graph_def, [o.name], set()) for o in unknown)]
    reads = {name for node in graph_def.node if node.name in reached for name in node.input if source(name) == last[0].name}
    if len(last) == 1 and len(reads) == 1:
        features = next(iter(reads))
        behind = needed(graph_def, outputs, {last[0].name})
        left = [name for name in behind if nodes[name].op == "Placeholder"]
        inputs = [n for n in needed(graph_def, [last[0].name], set()) if nodes[n].op == "Placeholder"]
        kinds = {session.dtype(name + ":0") for name in inputs}
        decodes = any(node.op == "DecodeWav" for node in unknown)
        features = features if ":" in features else features + ":0"
        readable = (decodes or "string" not in kinds) and session.dtype(features) == "float32"
        if not left and len(inputs) == 1 and readable and not _has_layers(graph_def, last[0].name):
            ops = ", ".join(dict.fromkeys(node.op for node in unknown))
            description = f"the audio front end ({ops})" if decodes else f"the front end ({ops})"
            return FrontEnd("wav" if decodes else "samples", inputs[0] + ":0", features, description)
    ops = ", ".join(sorted({node.op for node in unknown}))
    if unknown[0].op == "Placeholder":
        raise DoptError(
            "MODEL_OPERATORS",
            f"{path} takes text: {unknown[0].name!r} holds encoded files or strings, which ONNX has no operators for.",
            place=path,
            suggestions=["Freeze the model from the decoded numbers on; dopt reads and scales pictures itself."],
        )
    raise DoptError(
        "MODEL_OPERATORS",
        f"{path} uses operators that ONNX does not have, and not at its beginning alone: {ops} (first: {unknown[0].name!r}).",
        place=path,
        suggestions=[
            f"Cut the graph before them: --outputs {source(unknown[0].input[0]) if unknown[0].input else 'NAME'}",
            "Or replace them in the model before freezing it.",
        ],
    )


def _has_layers(graph_def: Any, name: str) -> bool:
    """Whether a node depends on a layer with weights: then it is no front end but part of the network."""
    from dopt.doors.tensorflow.write_back.graph import Graph
    from dopt.doors.tensorflow.write_back.layers import weight_tensors

    weights = {tensor.split(":")[0] for tensor in weight_tensors(Graph(graph_def))}
    return bool(weights & needed(graph_def, [name], set()))


def feature_shape(session: Any, front_end: FrontEnd, path: str, given: Dict[str, List[int]]) -> List[int]:
    """Shape of the features, from a second of silence or from zeros in the input's shape.

    ``given``: shapes that the user named. Raises DoptError MODEL_INPUT_SHAPE, MODEL_RUN.
    """
    import numpy as np

    value: Any = silence()
    if front_end.takes == "samples":
        shapes = input_shapes(path, {front_end.input: session.shape(front_end.input)}, given)
        sizes = [1 if size is None else size for size in shapes[front_end.input]]
        value = np.zeros(sizes, session.dtype(front_end.input))
    return list(session.run([front_end.features], {front_end.input: value})[0].shape)


def silence() -> bytes:
    """A wav file: one second, 16 kHz, 16 bit, mono."""
    data = b"\0\0" * (_RATE * _SECONDS)
    head = io.BytesIO()
    head.write(b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt ")
    head.write(struct.pack("<IHHIIHH", 16, 1, 1, _RATE, _RATE * 2, 2, 16))
    head.write(b"data" + struct.pack("<I", len(data)))
    return head.getvalue() + data


def compute_features(session: Any, params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``computeFeatures``: ``out``/a/b.npy for each file ``data``/a/b.wav, or for each sample of ``data``.

    Raises DoptError: DATA_NOT_FOUND, DATA_EMPTY_FOLDER, DATA_CORRUPT (without ``skipBad``), OUTPUT_WRITE, those of
    reading samples.
    """
    import numpy as np

    from dopt.data.raw import write_error

    front_end = params["frontEnd"]
    done: List[str] = []
    skipped: List[Dict[str, str]] = []
    read = _wav_files if front_end["takes"] == "wav" else _samples
    for name, value in read(session, params, skipped):
        events.check_cancelled()
        try:
            features = session.run([front_end["features"]], {front_end["input"]: value})[0]
        except DoptError as error:
            _skip(params, skipped, name, error)
            continue
        target = os.path.join(params["out"], feature_file(name))
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            np.save(target, features)
        except OSError as error:
            raise write_error(target, error) from error
        done.append(name)
        events.progress(len(done) + len(skipped), None, name)
    return {"names": done, "skipped": skipped}


def feature_file(name: str) -> str:
    """Path of the features of a sample: its own with the ending .npy; rows of one file are numbered so that they sort."""
    base, _, row = name.rpartition("#")
    return f"{base}.{int(row):08d}.npy" if base and row.isdigit() else os.path.splitext(name)[0] + ".npy"


def _skip(params: Dict[str, Any], skipped: List[Dict[str, str]], name: str, error: BaseException) -> None:
    """Leaves a sample out, or raises DATA_CORRUPT where none may be left out."""
    path = os.path.join(params["data"], name)
    reason = reason_of(error.__cause__ or error)
    if not params["skipBad"]:
        raise DoptError(
            "DATA_CORRUPT",
            f"The front end of the model cannot read {path}: {reason}",
            place=path,
            suggestions=["Take the file out, or leave unreadable ones out: --skip-bad"],
        ) from error
    skipped.append({"file": name, "reason": reason})


def _samples(session: Any, params: Dict[str, Any], skipped: List[Dict[str, str]]) -> Iterator[Tuple[str, Any]]:
    """Samples of a data source, in the shape that the front end's input has."""
    from dopt.data.source import open_source

    tensor = params["frontEnd"]["input"]
    name = source(tensor)
    shapes = input_shapes(params["model"], {tensor: session.shape(tensor)}, params["inputShapes"])
    samples = open_source(
        {
            "path": params["data"],
            "preprocess": params["preprocess"],
            "inputs": [{"name": name, "dtype": session.dtype(tensor), "shape": [size or "batch" for size in shapes[tensor]]}],
            "indices": None,
            "skipBad": params["skipBad"],
        }
    )
    for sample in samples:
        yield sample.name, sample.feeds[name]
    skipped.extend(samples.skipped)


def _wav_files(_: Any, params: Dict[str, Any], skipped: List[Dict[str, str]]) -> Iterator[Tuple[str, bytes]]:
    """Bytes of the wav files below a folder."""
    data = params["data"]
    for name in _wav_names(data):
        try:
            with open(os.path.join(data, name), "rb") as file:
                content = file.read()
        except OSError as error:
            _skip(params, skipped, name, error)
            continue
        yield name, content


def _wav_names(data: str) -> List[str]:
    if not os.path.isdir(data):
        raise DoptError(
            "DATA_NOT_FOUND",
            f"{data} is no folder.",
            place=data,
            suggestions=["Give a folder of .wav files: the network begins with a front end that takes them."],
        )
    found = []
    for folder, folders, names in os.walk(data):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        found += [os.path.relpath(os.path.join(folder, n), data) for n in sorted(names) if n.lower().endswith(".wav")]
    if not found:
        raise DoptError("DATA_EMPTY_FOLDER", f"{data} holds no .wav files.", place=data, suggestions=["Check the path."])
    return sorted(found)
