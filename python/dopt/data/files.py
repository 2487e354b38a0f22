"""Files of a data folder, in an order that does not depend on the machine."""

import hashlib
import os
from collections import Counter
from typing import Any, Callable, Iterable, List, Set

from dopt.errors import DoptError

_CHUNK = 1 << 20


def walk(folder: str, deep: bool = True) -> List[str]:
    """Relative POSIX paths of all files below ``folder``, sorted by code point. Hidden files and folders are left out.

    Without ``deep`` sub-folders are left out too. Links are followed; a folder that was visited already (a loop of
    links) is not visited twice.
    Raises DoptError(DATA_UNREADABLE) for a folder that cannot be listed.
    """
    found: List[str] = []
    seen: Set[str] = set()

    def visit(path: str, prefix: str) -> None:
        real = os.path.realpath(path)
        if real in seen:
            return
        seen.add(real)
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            raise DoptError(
                "DATA_UNREADABLE",
                f"Cannot list the data folder {path}: {error.strerror}.",
                place=path,
                suggestions=["Check the folder's permissions."],
            ) from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if deep:
                    visit(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                found.append(prefix + entry.name)

    visit(folder, "")
    return sorted(found)


def extension(name: str) -> str:
    """The lower-case ending with its dot, or ''."""
    return os.path.splitext(name)[1].lower()


def summary(names: Iterable[str]) -> str:
    """What lies in a folder, for a message: ``3 .txt, 1 .csv, 2 without an ending``."""
    counts = Counter(extension(name) for name in names)
    shown = [f"{count} {ending or 'without an ending'}" for ending, count in counts.most_common(6)]
    return ", ".join(shown + (["…"] if len(counts) > 6 else []))


def digest(root: str, names: Iterable[str], check: Callable[[], Any]) -> str:
    """SHA-256 over the names and contents of files below ``root``, in the order given; ``check`` is called in between."""
    total = hashlib.sha256()
    for name in names:
        check()
        content = hashlib.sha256()
        path = os.path.join(root, name)
        try:
            with open(path, "rb") as file:
                for piece in iter(lambda: file.read(_CHUNK), b""):
                    content.update(piece)
        except OSError as error:
            raise DoptError("DATA_UNREADABLE", f"Cannot read {path}: {error.strerror}.", place=path) from error
        encoded = name.encode("utf-8", "surrogateescape")
        total.update(b"%d:%s:%s\n" % (len(encoded), encoded, content.hexdigest().encode()))
    return total.hexdigest()
