"""The part of a graph that ONNX has no operators for: audio front ends. It stays in TensorFlow and makes the features.

The cut lies behind the last unknown operator, where every way from the inputs to the outputs passes through one tensor.
"""

import io
import os
import struct
from typing import Any, Dict, List, NamedTuple, Set

from dopt.doors.tensorflow.border import needed, source
from dopt.doors.tensorflow.session import reason_of
from dopt.errors import DoptError

#: Rate and length of the silence that the shape of the features is found with: a second, as speech commands have.
_RATE, _SECONDS = 16000, 1


class FrontEnd(NamedTuple):
    """Tensors that the front end takes and gives, and its operators for people."""

    input: str
    features: str
    description: str


def find_front_end(graph_def: Any, path: str, unknown_ops: Set[str], outputs: List[str]) -> FrontEnd:
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
        decodes = any(node.op == "DecodeWav" for node in unknown)
        if not left and len(inputs) == 1 and decodes:
            ops = ", ".join(dict.fromkeys(node.op for node in unknown))
            return FrontEnd(inputs[0] + ":0", features if ":" in features else features + ":0", f"the audio front end ({ops})")
    ops = ", ".join(sorted({node.op for node in unknown}))
    raise DoptError(
        "MODEL_OPERATORS",
        f"{path} uses operators that ONNX does not have, and not at its beginning alone: {ops} (first: {unknown[0].name!r}).",
        kind="external",
        place=path,
        suggestions=[
            f"Cut the graph before them: --outputs {source(unknown[0].input[0]) if unknown[0].input else 'NAME'}",
            "Or replace them in the model before freezing it.",
        ],
    )


def feature_shape(session: Any, front_end: FrontEnd) -> List[int]:
    """Shape of the features, from a second of silence."""
    return list(session.run([front_end.features], {front_end.input: silence()})[0].shape)


def silence() -> bytes:
    """A wav file: one second, 16 kHz, 16 bit, mono."""
    data = b"\0\0" * (_RATE * _SECONDS)
    head = io.BytesIO()
    head.write(b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt ")
    head.write(struct.pack("<IHHIIHH", 16, 1, 1, _RATE, _RATE * 2, 2, 16))
    head.write(b"data" + struct.pack("<I", len(data)))
    return head.getvalue() + data


def compute_features(session: Any, params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``computeFeatures``: ``out``/a/b.npy for ``data``/a/b.wav.

    Raises DoptError: DATA_NOT_FOUND, DATA_EMPTY_FOLDER, DATA_CORRUPT (without ``skipBad``), OUTPUT_WRITE.
    """
    import numpy as np

    from dopt.data.raw import write_error

    data, out, front_end = params["data"], params["out"], params["frontEnd"]
    names = _wav_files(data)
    done, skipped = [], []
    for place, name in enumerate(names):
        events.check_cancelled()
        path = os.path.join(data, name)
        try:
            with open(path, "rb") as file:
                features = session.run([front_end["features"]], {front_end["input"]: file.read()})[0]
        except (OSError, DoptError) as error:
            reason = reason_of(error.__cause__ or error)
            if not params["skipBad"]:
                raise DoptError(
                    "DATA_CORRUPT",
                    f"{path} cannot be read as a wav file: {reason}",
                    place=path,
                    suggestions=["Take the file out, or leave unreadable ones out: --skip-bad"],
                ) from error
            skipped.append({"file": name, "reason": reason})
            continue
        target = os.path.join(out, os.path.splitext(name)[0] + ".npy")
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            np.save(target, features)
        except OSError as error:
            raise write_error(target, error) from error
        done.append(name)
        events.progress(place + 1, len(names), name)
    return {"names": done, "skipped": skipped}


def _wav_files(data: str) -> List[str]:
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
