"""A checker for the part of JSON Schema that the generated schemas use, so that rules stand in one place: src/config."""

import json
import os
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from dopt.plugin.near import near_matches


class Fault(NamedTuple):
    """What is wrong at a path of keys, and names that may have been meant."""

    path: Tuple[str, ...]
    message: str
    near: List[str]


_TYPES = {
    "object": (dict, "settings in braces"),
    "array": (list, "a list"),
    "string": (str, "text"),
    "boolean": (bool, "true or false"),
    "number": ((int, float), "a number"),
    "integer": (int, "a whole number"),
    "null": (type(None), "null"),
}


def load(name: str) -> Dict[str, Any]:
    """A schema that lies beside this file."""
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return json.load(file)


def faults(value: Any, schema: Dict[str, Any], path: Tuple[str, ...] = ()) -> Iterator[Fault]:
    """Everything wrong with ``value``: types, patterns, enumerations, unknown and missing keys. Depth first."""
    if "anyOf" in schema:
        found = [list(faults(value, each, path)) for each in schema["anyOf"]]
        yield from [] if any(not each for each in found) else _closest(found)
        return
    kind = schema.get("type")
    kinds = [kind] if isinstance(kind, str) else kind or []
    if kinds and not any(isinstance(value, _TYPES[each][0]) for each in kinds):
        expected = " or ".join(_TYPES[each][1] for each in kinds)
        yield Fault(path, f"expected {expected}, found {json.dumps(value)[:60]}", [])
        return
    if "const" in schema and value != schema["const"]:
        yield Fault(path, f"expected {json.dumps(schema['const'])}, found {json.dumps(value)[:60]}", [])
    if "enum" in schema and value not in schema["enum"]:
        allowed = [str(each) for each in schema["enum"]]
        yield Fault(path, f"expected one of {', '.join(allowed)}, found {value!r}", near_matches(str(value), allowed))
    if "pattern" in schema and not re.search(schema["pattern"], value):
        expected = schema.get("description", schema["pattern"])
        yield Fault(path, f"expected {expected}, found {value!r}", [])
    if isinstance(value, dict):
        yield from _members(value, schema, path)
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, member in enumerate(value):
            yield from faults(member, schema["items"], (*path, str(index)))


def _closest(found: List[List[Fault]]) -> List[Fault]:
    """The faults of the branch that has fewest; where several ask for one value each, what they ask for together."""
    if all(len(each) == 1 and each[0].message.startswith("expected ") for each in found):
        wanted = " or ".join(each[0].message[len("expected ") :].split(", found ")[0] for each in found)
        first = found[0][0]
        near = [name for each in found for name in each[0].near]
        return [Fault(first.path, f"expected {wanted}, found {first.message.split(', found ')[-1]}", near)]
    return min(found, key=len)


def _members(value: Dict[str, Any], schema: Dict[str, Any], path: Tuple[str, ...]) -> Iterator[Fault]:
    known = schema.get("properties", {})
    patterns = [re.compile(pattern) for pattern in schema.get("patternProperties", {})]
    others = schema.get("additionalProperties", True)
    for key in schema.get("required", []):
        if key not in value:
            yield Fault(path, f"{key!r} is missing", [])
    for key, member in value.items():
        if key in known:
            yield from faults(member, known[key], (*path, key))
        elif any(pattern.search(key) for pattern in patterns):
            continue
        elif isinstance(others, dict):
            yield from faults(member, others, (*path, key))
        elif others is False:
            yield Fault((*path, key), "is no setting", near_matches(key, known))
