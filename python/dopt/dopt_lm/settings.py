"""dopt_config.json for modules of torch: written for a model, read with its mistakes named, one entry a layer.

The file's form is src/config/llm-layers.ts, whose JSON Schema lies beside this file.
"""

import fnmatch
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional

from dopt.capture.save import write_bytes
from dopt.errors import DoptError
from dopt.plugin import schema
from dopt.plugin.lenient import read_json
from dopt.plugin.near import near_matches

#: Group sizes tried in this order where a layer's entry has none.
USUAL_GROUPS = (128, 64, 32)
#: Strategies whose weights have 8 bits, and those whose scales learn in training.
EIGHT_BITS = ("Quant_aigc_ptq", "Quant_aigc_qat", "Quant_Embed_MinMax")
LEARNING = ("Quant_aigc_qat", "Quant_act_weight_eco", "Quant_lm_head")


class LayerSettings(NamedTuple):
    """What is done to a layer. ``group_size`` 0 is one scale a row; ``input_bits`` None leaves its input alone."""

    bits: int
    group_size: int
    learns: bool
    clips: bool
    input_bits: Optional[int]
    input_symmetric: bool
    input_rule: str
    lora: Optional[Dict[str, Any]]


def usual_group(inputs: int) -> int:
    """The largest of the usual groups that divides a layer's inputs; 0 for none."""
    return next((size for size in USUAL_GROUPS if inputs % size == 0 and size < inputs), 0)


def write_settings(path: str, layers: Dict[str, Any], head: Optional[str], embedding: Optional[str]) -> None:
    """Writes an entry for each layer, filled in. ``layers``: modules by name. Raises DoptError OUTPUT_WRITE."""
    entries: Dict[str, Any] = {}
    for name, module in layers.items():
        kind = type(module).__name__
        if name == embedding:
            entries[name] = {"type": kind, "quant_strategy": "Quant_Embed_MinMax", "weight": {"bit": 8}}
            continue
        if name == head:
            entries[name] = {"type": kind, "quant_strategy": "Quant_lm_head", "weight": {"bit": 8}, "input": {"bit": 16}}
            continue
        weight = {"bit": 4, "group_size": usual_group(module.in_features)}
        entries[name] = {"type": kind, "quant_strategy": "Quant_act_weight_eco", "weight": weight, "input": {"bit": 16}}
    write_bytes(path, json.dumps(entries, indent=1).encode() + b"\n")


def read_settings(path: str, layers: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
    """Entries by layer; names count more than patterns, later ones more than earlier ones.

    Raises DoptError DOPT_CONFIG_INVALID, LLM_LAYER_UNKNOWN.
    """
    value, _ = read_json(path, "DOPT_CONFIG_INVALID")
    if isinstance(value, dict) and list(value) == ["layer_strategy"]:
        value = value["layer_strategy"]
    entries = {key: entry for key, entry in value.items() if not key.startswith("//")} if isinstance(value, dict) else value
    found = list(schema.faults(entries, _schema()))
    if found:
        raise _invalid(path, found)
    result: Dict[str, Dict[str, Any]] = {}
    for patterns in (True, False):
        for key, entry in entries.items():
            if ("*" in key) != patterns:
                continue
            names = [name for name in layers if fnmatch.fnmatchcase(name, key) or f"{name}.weight" == key]
            if not names:
                raise _unknown(path, key, layers)
            result.update((name, entry) for name in names)
    return result


def layer_settings(name: str, entry: Dict[str, Any], inputs: int) -> Optional[LayerSettings]:
    """The settings that an entry stands for; None for a layer that stays float.

    Raises DoptError LLM_GROUP_SIZE, LLM_GROUP_OF_8_BITS.
    """
    strategy = entry.get("quant_strategy") or "Quant_act_weight_eco"
    if strategy == "float":
        return None
    weight, source = entry.get("weight") or {}, entry.get("input") or {}
    bits = weight.get("bit") or (8 if strategy in EIGHT_BITS else 4)
    size = weight.get("group_size")
    if bits == 8 and (size or 0) > 0:
        raise DoptError(
            "LLM_GROUP_OF_8_BITS",
            f"{name}: weights of 8 bits have a scale a row, not groups of {size}.",
            place=name,
            suggestions=["Take 4 bits with groups, or leave group_size out; the original ignored it."],
        )
    group = 0 if bits == 8 else usual_group(inputs) if size is None else max(0, size)
    if group and inputs % group:
        fitting = ", ".join(str(each) for each in (32, 64, 128, 256) if inputs % each == 0) or "none but a scale a row"
        raise DoptError(
            "LLM_GROUP_SIZE",
            f"{name}: groups of {group} do not divide its {inputs} inputs; {fitting} would.",
            place=name,
            suggestions=["Give another group_size, or 0 for a scale a row."],
        )
    input_bits = source.get("bit") or (None if strategy == "Quant_Embed_MinMax" else 8 if strategy in EIGHT_BITS else 16)
    algorithm = weight.get("weight_algo") or ""
    return LayerSettings(
        bits=bits,
        group_size=group,
        learns=strategy in LEARNING or algorithm.startswith("omni"),
        clips=not algorithm.endswith("min_max") or algorithm.startswith("omni"),
        input_bits=input_bits,
        input_symmetric=not source.get("unsigned_quant", input_bits == 8),
        input_rule=source.get("input_algo") or "min_max",
        lora=entry.get("lora_config"),
    )


def _schema() -> Dict[str, Any]:
    with open(os.path.join(os.path.dirname(__file__), "layers.schema.json"), encoding="utf-8") as file:
        return json.load(file)


def _invalid(path: str, found: List[schema.Fault]) -> DoptError:
    first = found[0]
    hints = [f"Did you mean {' or '.join(first.near)}?"] if first.near else []
    return DoptError(
        "DOPT_CONFIG_INVALID",
        f"{path}: {'.'.join(first.path) or 'the file'} {first.message}.",
        place=path,
        suggestions=[*hints, "generate_config_file() writes a file that is filled in."],
    )


def _unknown(path: str, key: str, layers: Dict[str, Any]) -> DoptError:
    near = near_matches(key, layers)
    hints = [f"Did you mean {' or '.join(near)}?"] if near else []
    return DoptError(
        "LLM_LAYER_UNKNOWN",
        f"{path}: {key} matches no linear layer and no embedding of the model.",
        place=path,
        suggestions=[*hints, "generate_config_file() lists the layers of a model."],
    )
