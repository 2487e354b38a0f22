"""What identifies a model that consists of several files."""

import hashlib
import os
from typing import Any, Dict, Iterable, List


def source_of(model: str, *others: str) -> Dict[str, Any]:
    """Path of ``model``, bytes of all files and one SHA-256 over them; a folder counts with everything in it."""
    digest, size = hashlib.sha256(), 0
    for path in (model, *others):
        for file in _files(path):
            digest.update(os.path.relpath(file, path).encode())
            with open(file, "rb") as stream:
                for piece in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(piece)
                    size += len(piece)
    return {"path": os.path.abspath(model), "bytes": size, "sha256": digest.hexdigest()}


def describe(path: str) -> Dict[str, Any]:
    """Path, bytes and SHA-256 of one file."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            digest.update(piece)
            size += len(piece)
    return {"path": os.path.abspath(path), "bytes": size, "sha256": digest.hexdigest()}


def _files(path: str) -> Iterable[str]:
    if not os.path.isdir(path):
        return [path]
    found: List[str] = []
    for folder, _, names in os.walk(path):
        found.extend(os.path.join(folder, name) for name in names)
    return sorted(found)
