"""JSON attributes as AttributeProtos. JSON has one kind of number, so the operator's schema says which ONNX type is meant."""

from typing import Any, Dict, List

from dopt.errors import DoptError

_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}

#: Attributes of operators that onnx has no schema for: those of Ascend's deploy models (hicann/amct, insert_quant_pass).
_CUSTOM = {
    "AscendQuant": {"scale": "FLOAT", "offset": "FLOAT", "dst_type": "STRING"},
    "AscendDequant": {"dtype": "INT"},
}


def make_attributes(op: str, domain: str, values: Dict[str, Any], versions: Dict[str, int]) -> List[Any]:
    """AttributeProtos in name order, typed by the operator's schema; for unknown operators by the values themselves.

    Raises DoptError REWRITE (bug) for an attribute that the operator does not have or a value of another type.
    """
    schema = _schema(op, domain, versions)
    return [_make(op, name, values[name], schema) for name in sorted(values)]


def _schema(op: str, domain: str, versions: Dict[str, int]) -> Any:
    from onnx import defs

    try:
        return defs.get_schema(op, versions[domain], domain)
    except (KeyError, defs.SchemaError):
        return None


def _make(op: str, name: str, value: Any, schema: Any) -> Any:
    from onnx import AttributeProto

    if schema is None:
        kind = _CUSTOM.get(op, {}).get(name) or _guess(value)
    elif name in schema.attributes:
        kind = schema.attributes[name].type.name
    else:
        raise _bug(op, name, "does not exist")
    made = AttributeProto(name=name, type=getattr(AttributeProto, kind))
    try:
        if kind == "FLOAT":
            made.f = _float(value)
        elif kind == "INT":
            made.i = _int(value)
        elif kind == "STRING":
            made.s = value.encode()
        elif kind == "FLOATS":
            made.floats.extend(_float(item) for item in value)
        elif kind == "INTS":
            made.ints.extend(_int(item) for item in value)
        elif kind == "STRINGS":
            made.strings.extend(item.encode() for item in value)
        else:
            raise TypeError(f"{kind} cannot be given as JSON")
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise _bug(op, name, f"is a {kind} and cannot be {value!r} ({error})") from error
    return made


def _guess(value: Any) -> str:
    if isinstance(value, list):
        first = value[0] if value else 0
        if any(isinstance(item, float) for item in value):
            return "FLOATS"
        return "STRINGS" if isinstance(first, str) and first not in _WORDS else "INTS"
    if isinstance(value, str):
        return "FLOAT" if value in _WORDS else "STRING"
    return "FLOAT" if isinstance(value, float) else "INT"


def _float(value: Any) -> float:
    return _WORDS[value] if isinstance(value, str) else float(value)


def _int(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        # JavaScript knows the largest int64 only as 2^63, which is one too many.
        return min(int(value), (1 << 63) - 1)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("no whole number")
    return max(-(1 << 63), min(value, (1 << 63) - 1))


def _bug(op: str, name: str, problem: str) -> DoptError:
    return DoptError("REWRITE", f"Attribute {name!r} of {op} {problem}.", kind="bug")
