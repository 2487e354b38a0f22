"""Grids of activations beside files that hold weights alone: a quant_params.json without weights."""

import os
from typing import Any, Dict, List, Tuple

from dopt.errors import DoptError
from dopt.llm.artifact import Reader
from dopt.llm.export.folder import Kept
from dopt.llm.export.parameters import activation_entry, quant_params, write_json

FILE = "int16_scales.json"


def write(reader: Reader, out: str, options: Dict[str, Any], events: Any) -> Tuple[List[Kept], List[str]]:
    """Writes the file into the folder ``out``. Raises DoptError EXPORT_NO_RANGES."""
    if not reader.activations:
        raise DoptError(
            "EXPORT_NO_RANGES",
            f"{reader.folder} holds no grids of activations.",
            place=reader.folder,
            suggestions=["Measure them first: dopt llm stage2, or dopt llm quantize without --weights-only."],
        )
    os.makedirs(out, exist_ok=True)
    head, name, tensors = quant_params(reader, options.get("target") or "any", map(activation_entry, reader.activations))
    write_json(os.path.join(out, FILE), head, (name, tensors))
    return [], []
