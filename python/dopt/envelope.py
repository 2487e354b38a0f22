"""The answer of a method as JSON text: ``{ok: true, value}`` or ``{ok: false, error}``, the same for calls and jobs."""

import errno
import json
import math
import traceback
from typing import Any, Callable, Dict, List, Optional

from dopt.errors import Cancelled, DoptError

#: Longest traceback kept, in characters; the end says most.
TRACEBACK_LIMIT = 16_384

_DISK = {
    errno.ENOSPC: ("DISK_FULL", ["Free some space, or choose another place with --out."]),
    errno.EDQUOT: ("DISK_FULL", ["Your quota is used up: free some space, or choose another place with --out."]),
    errno.EROFS: ("READ_ONLY", ["The file system is read-only: choose another place with --out."]),
    errno.EACCES: ("PERMISSION_DENIED", ["Check who owns the file and its permissions."]),
    errno.EPERM: ("PERMISSION_DENIED", ["Check who owns the file and its permissions."]),
}


def failure(error: BaseException) -> Dict[str, Any]:
    """The error envelope of an exception; ``pythonErrorSchema`` of protocol.ts."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {"ok": False, "error": {**_describe(error), "type": type(error).__name__, "traceback": text[-TRACEBACK_LIMIT:]}}


def run(work: Callable[[], Any]) -> Dict[str, Any]:
    """Calls ``work`` and wraps its result or its exception; raises nothing but what ends the interpreter.

    The envelope can always be written as JSON: a result with NaN, an infinity, bytes or an array becomes an error
    that names the key.
    """
    try:
        value = work()
        wrong = _not_json(value)
        if wrong is not None:
            raise DoptError("PYTHON_BAD_RESULT", f"A Python method returned a result that is not JSON: {wrong}.", kind="bug")
        return {"ok": True, "value": value}
    except (Exception, Cancelled) as error:  # pylint: disable=broad-except
        return failure(error)


def dumps(envelope: Dict[str, Any]) -> str:
    """JSON text of an envelope, on one line."""
    return json.dumps(envelope, allow_nan=False)


def _describe(error: BaseException) -> Dict[str, Any]:
    if isinstance(error, DoptError):
        return _fields(error.code, error.kind, error.message, error.place, error.suggestions, error.found)
    if isinstance(error, Cancelled):
        return _fields("CANCELLED", "user", "The work was cancelled.")
    if isinstance(error, MemoryError):
        return _fields(
            "OUT_OF_MEMORY",
            "environment",
            "Python ran out of memory.",
            suggestions=["Close other programs, or use fewer or smaller samples at once."],
        )
    if isinstance(error, ImportError):
        return _fields(
            "PYTHON_IMPORT",
            "environment",
            f"The Python environment lacks something: {error}.",
            suggestions=["Run `dopt env doctor` to see what is missing.", "Make the environment anew: `dopt env create --force`."],
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        code, suggestions = _DISK[error.errno]
        place = None if error.filename is None else str(error.filename)
        where = "" if place is None else f" ({place})"
        return _fields(code, "environment", f"{error.strerror}{where}.", place, suggestions)
    return _fields("PYTHON_EXCEPTION", "external", f"{type(error).__name__}: {error}")


def _fields(
    code: str,
    kind: str,
    message: str,
    place: Optional[str] = None,
    suggestions: Optional[List[str]] = None,
    found: Optional[str] = None,
) -> Dict[str, Any]:
    fields = {"code": code, "kind": kind, "message": message, "place": place, "suggestions": list(suggestions or [])}
    return fields if found is None else {**fields, "found": found}


def _not_json(value: Any, path: str = "result") -> Optional[str]:
    """Says what in ``value`` has no JSON form, or None. Stricter than json.dumps: keys must be strings."""
    if value is None or isinstance(value, (bool, int, str)):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{path} is {value}"
    if isinstance(value, (list, tuple)):
        return next(filter(None, (_not_json(item, f"{path}[{i}]") for i, item in enumerate(value))), None)
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                return f"{path} has the key {key!r}, which is no string"
            wrong = _not_json(item, f"{path}.{key}")
            if wrong is not None:
                return wrong
        return None
    return f"{path} is of type {type(value).__module__}.{type(value).__name__}"
