"""A quantized language model in the formats of others, one writer a file.

Each writer is ``write(reader, out, options, events) -> (layers that stay float, notes)`` and fills the folder ``out``.
"""

import hashlib
import importlib
import os
import shutil
from typing import Any, Dict, List

from dopt.errors import DoptError
from dopt.safetensors import CHUNK, write_error

WRITERS = {
    "compressed-tensors": "dopt.llm.export.compressed_tensors",
    "gptq": "dopt.llm.export.gptq",
    "awq": "dopt.llm.export.awq",
    "gguf": "dopt.llm.export.gguf",
    "onnx-qdq": "dopt.llm.export.onnx",
    "onnx-matmulnbits": "dopt.llm.export.onnx",
    "aimet-encodings": "dopt.llm.export.aimet",
    "ranges": "dopt.llm.export.ranges",
    "original": "dopt.llm.export.original",
}


def export(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """The method ``llm.export`` of src/bridge/protocol.ts: writes ``out`` whole or not at all."""
    from dopt.llm.artifact import Reader

    reader = Reader(params["artifact"])
    writer = importlib.import_module(WRITERS[params["format"]])
    out = os.path.abspath(params["out"])
    if os.path.exists(out):
        raise DoptError(
            "EXPORT_EXISTS",
            f"{out} exists already and is not overwritten.",
            place=out,
            suggestions=["Give another folder: --out DIR", "Or remove it first."],
        )
    staged = f"{out}.{os.getpid()}.partial"
    try:
        os.makedirs(os.path.dirname(out), exist_ok=True)
        kept, notes = writer.write(reader, staged, {**params["options"], "format": params["format"]}, events)
        os.rename(staged, out)
    except OSError as error:
        raise write_error(out, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return {
        "files": _files(out),
        "layers": len(reader.index["linears"]) - len(kept),
        "float": [{"name": each.name, "reason": each.reason} for each in kept],
        "notes": notes,
    }


def unexportable(architecture: str, config: Dict[str, Any]) -> List[Dict[str, str]]:
    """Formats that a model cannot be written in, and why, known before it is quantized: ``why_not`` of the writers that have one."""
    found = []
    for name, module in WRITERS.items():
        why_not = getattr(importlib.import_module(module), "why_not", None)
        reason = None if why_not is None else why_not(architecture, config)
        if reason is not None:
            found.append({"format": name, "reason": reason})
    return found


def _files(folder: str) -> List[Dict[str, Any]]:
    files = []
    for name in sorted(os.listdir(folder)):
        digest, path = hashlib.sha256(), os.path.join(folder, name)
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(CHUNK), b""):
                digest.update(piece)
        files.append({"path": path, "bytes": os.path.getsize(path), "sha256": digest.hexdigest()})
    return files
