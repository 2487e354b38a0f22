"""Scales and zero points as text: the open parameter file (src/config/quant-params.ts), written entry by entry."""

import json
import os
from typing import Any, Dict, Iterable, Iterator, Tuple

from dopt.capture.save import discard
from dopt.llm.artifact import Layer, Reader
from dopt.safetensors import write_error


def numbers(array: Any) -> Any:
    """float32 as Python floats with no more digits than tell them apart: read as float32, they are the same again."""
    import numpy as np

    return [float(text) for text in np.char.mod("%.9g", np.asarray(array, np.float32).reshape(-1))]


def layer_entry(layer: Layer, rows: int = 0) -> Dict[str, Any]:
    """The weight of a layer; ``rows`` beyond its own, all zero, with a scale of 1."""
    outputs, groups = layer.scales.shape
    count = (max(rows, outputs)) * groups
    scale = numbers(layer.scales)
    entry = {
        "name": f"{layer.name}.weight",
        "kind": "weight",
        "node": layer.name,
        "bits": layer.meta["bits"],
        "signed": True,
        "symmetric": True,
        "granularity": "group" if layer.meta["groupSize"] else "channel",
        "axis": 1 if layer.meta["groupSize"] else 0,
        "scale": scale + [1.0] * (count - len(scale)),
        "zero_point": [0],
        "range_seen": None,
        "rule": layer.meta["strategy"],
    }
    if layer.meta["groupSize"]:
        entry["group_size"] = layer.meta["groupSize"]
    return entry


def activation_entry(activation: Dict[str, Any]) -> Dict[str, Any]:
    """An activation of the artifact's index."""
    return {
        "name": activation["name"],
        "kind": "activation",
        "node": None,
        "bits": activation["bits"],
        "signed": True,
        "symmetric": activation["symmetric"],
        "granularity": "tensor",
        "axis": None,
        "scale": [activation["scale"]],
        "zero_point": [activation["zeroPoint"]],
        "range_seen": [activation["low"], activation["high"]],
        "rule": activation["rule"],
    }


def quant_params(reader: Reader, target: str, tensors: Iterable[Dict[str, Any]]) -> Tuple[Dict[str, Any], str, Iterator[Any]]:
    """Head, name of the list and list for ``write_json``: a quant_params.json."""
    head = {"version": 1, "model": reader.index["architecture"], "strategy": "int16-4", "target": target, "float_nodes": []}
    return head, "tensors", iter(tensors)


def write_json(path: str, head: Dict[str, Any], *lists: Tuple[str, Iterable[Any]]) -> None:
    """Writes ``head`` and lists after it, an element a line, none of them in memory as a whole. Raises DoptError OUTPUT_WRITE."""
    temporary = f"{path}.part"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(json.dumps(head, ensure_ascii=False, allow_nan=False)[:-1])
            for name, elements in lists:
                file.write(f",\n{json.dumps(name)}: [")
                for number, element in enumerate(elements):
                    file.write(("," if number else "") + "\n" + json.dumps(element, ensure_ascii=False, allow_nan=False))
                file.write("\n]")
            file.write("\n}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        discard(temporary)
