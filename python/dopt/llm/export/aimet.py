"""Encodings as AIMET writes them for Qualcomm's converters, versions 1.0.0 and 2.0.0.

Source: "Encoding Format Specification" of the AIMET documentation. Weights are called by their names in the model's state
dict, activations by those of the run; signed integers throughout. In 1.0.0 an offset is that of unsigned integers,
−zero point − 2^(bits−1); scales of groups are flattened, outputs before groups.
"""

import os
from typing import Any, Dict, Iterator, List, Tuple

from dopt.llm.artifact import Layer, Reader
from dopt.llm.export.folder import Kept
from dopt.llm.export.parameters import numbers, write_json

FILES = {"1.0.0": "model.encodings", "2.0.0": "model.encodings.json"}


def write(reader: Reader, out: str, options: Dict[str, Any], events: Any) -> Tuple[List[Kept], List[str]]:
    """Writes the file into the folder ``out``; ``options``: ``encodingsVersion``."""
    os.makedirs(out, exist_ok=True)
    version = options.get("encodingsVersion") or "1.0.0"
    path = os.path.join(out, FILES[version])
    if version == "1.0.0":
        head = {"version": version, "excluded_layers": [], "quantizer_args": _arguments(reader)}
        weights = (_weight_1(layer) for layer in _layers(reader))
        write_json(
            path, head, ("activation_encodings", map(_activation_1, reader.activations)), ("param_encodings", weights)
        )
    else:
        write_json(path, {"version": version}, ("encodings", _encodings_2(reader)))
    return [], ["Weights on their grid for these encodings: export --to original with --dtype float32."]


def _layers(reader: Reader) -> Iterator[Layer]:
    yield from reader.linears()
    yield from reader.embeddings()


def _arguments(reader: Reader) -> Dict[str, Any]:
    widths = [entry["bits"] for entry in reader.index["linears"]]
    return {
        "activation_bitwidth": max([each["bits"] for each in reader.activations], default=16),
        "dtype": "int",
        "is_symmetric": True,
        "param_bitwidth": max(set(widths), key=widths.count, default=4),
        "per_channel_quantization": True,
        "quant_scheme": "post_training_tf",
    }


def _activation_1(activation: Dict[str, Any]) -> Dict[str, Any]:
    bits = activation["bits"]
    return {
        "name": activation["name"],
        "enc_type": "PER_TENSOR",
        "dtype": "INT",
        "bw": bits,
        "is_sym": activation["symmetric"],
        "scale": [activation["scale"]],
        "offset": [-activation["zeroPoint"] - (1 << (bits - 1))],
    }


def _weight_1(layer: Layer) -> Dict[str, Any]:
    bits, group_size = layer.meta["bits"], layer.meta["groupSize"]
    scale = numbers(layer.scales)
    block = {"block_size": group_size} if group_size else {}
    return {
        "name": f"{layer.name}.weight",
        "enc_type": "PER_BLOCK" if group_size else "PER_CHANNEL",
        "dtype": "INT",
        "bw": bits,
        "is_sym": True,
        **block,
        "scale": scale,
        "offset": [-(1 << (bits - 1))] * len(scale),
    }


def _encodings_2(reader: Reader) -> Iterator[Dict[str, Any]]:
    for activation in reader.activations:
        entry = {
            "name": activation["name"],
            "output_dtype": f"int{activation['bits']}",
            "y_scale": activation["scale"],
        }
        yield {**entry, "y_zero_point": activation["zeroPoint"]} if activation["zeroPoint"] else entry
    for layer in _layers(reader):
        outputs, groups = layer.scales.shape
        flat = numbers(layer.scales)
        entry = {"name": f"{layer.name}.weight", "output_dtype": f"int{layer.meta['bits']}"}
        if layer.meta["groupSize"]:
            rows = [flat[row * groups : (row + 1) * groups] for row in range(outputs)]
            yield {**entry, "y_scale": rows, "axis": 1, "block_size": layer.meta["groupSize"]}
        else:
            yield {**entry, "y_scale": flat, "axis": 0}
