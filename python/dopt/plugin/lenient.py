"""JSON as people write it: with a comma behind the last item, as in the samples of the original's documentation."""

import json
from typing import Any, List, Tuple

from dopt.errors import DoptError
from dopt.json_text import parse


def read_json(path: str, code: str) -> Tuple[Any, List[str]]:
    """The value in a file and warnings about what JSON does not allow. Raises DoptError ``code`` with line and column."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DoptError(code, f"Cannot read {path}: {reason}.", place=path) from error
    clean, commas = without_trailing_commas(text)
    try:
        value = parse(clean, _unique)
    except json.JSONDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}"
        hint = "Keys and texts stand in double quotes, items are separated by commas."
        raise DoptError(code, f"{place} is not JSON: {error.msg}.", place=place, suggestions=[hint]) from error
    except _Twice as error:
        place = f"{path}:{_line_of_last(text, str(error))}"
        raise DoptError(code, f"{place}: {str(error)!r} is given twice.", place=place) from error
    except ValueError as error:
        raise DoptError(code, f"{path} is not JSON: {error}.", place=path) from error
    warnings = [f"{path}:{line}: a comma behind the last item is not JSON; read as if it were not there." for line in commas]
    return value, warnings


def without_trailing_commas(text: str) -> Tuple[str, List[int]]:
    """The text with a space for each comma before a closing bracket, so that places stay, and the lines of those."""
    kept = list(text)
    lines = []
    comma = None
    quoted = False
    index = 0
    while index < len(text):
        char = text[index]
        if quoted:
            if char == "\\":
                index += 1
            quoted = char != '"'
        elif char == ",":
            comma = index
        elif char in "}]" and comma is not None:
            kept[comma] = " "
            lines.append(text.count("\n", 0, comma) + 1)
            comma = None
        elif not char.isspace():
            comma = None
            quoted = char == '"'
        index += 1
    return "".join(kept), lines


class _Twice(ValueError):
    """A key that an object has twice."""


def _unique(pairs: List[Tuple[str, Any]]) -> Any:
    seen = set()
    for key, _ in pairs:
        if key in seen and not key.startswith("//"):
            raise _Twice(key)
        seen.add(key)
    return dict(pairs)


def _line_of_last(text: str, key: str) -> int:
    return text.count("\n", 0, text.rfind(json.dumps(key))) + 1
