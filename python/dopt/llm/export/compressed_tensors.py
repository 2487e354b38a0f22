"""compressed-tensors, format pack-quantized: what transformers, vLLM and llm-compressor read.

Per layer ``weight_packed`` int32 [N, ceil(K · bits / 32)], the value + 2^(bits−1), low bits first along K; ``weight_scale``
[N, G]; ``weight_shape`` int64 [2]. Source: compressed_tensors/compressors/pack_quantized of the package of that name.
"""

from typing import Any, Dict, List, Tuple

from dopt.llm.artifact import Layer, Reader
from dopt.llm.export.folder import Kept, float_dtype, write_config, write_folder
from dopt.llm.export.rounding import cast, largest_change, scales_note
from dopt.llm.export.packing import pack_words


def write(reader: Reader, out: str, options: Dict[str, Any], events: Any) -> Tuple[List[Kept], List[str]]:
    """Writes the folder; returns layers that stay float and notes. Scales have the type of what stays float."""
    import numpy as np

    dtype = float_dtype(reader, options.get("dtype"))
    changes: Dict[str, float] = {}

    def convert(layer: Layer) -> Any:
        bits = layer.meta["bits"]
        if bits not in (4, 8):
            return f"{bits} bits: the format packs 4 or 8"
        changes[layer.name] = largest_change(layer.scales, dtype)
        return {
            "weight_packed": pack_words(layer.integers, bits),
            "weight_scale": cast(layer.scales, dtype),
            "weight_shape": np.array(layer.integers.shape, np.int64),
        }

    kept = write_folder(reader, out, convert, dtype, events)
    write_config(out, {"dtype": dtype, "torch_dtype": dtype}, configuration(reader, {each.name for each in kept}))
    return kept, list(scales_note(changes, dtype))


def configuration(reader: Reader, kept: Any) -> Dict[str, Any]:
    """``quantization_config``: the widths of most layers hold for every Linear, those of others are told by name."""
    schemes: Dict[Tuple[int, int], List[str]] = {}
    for entry in reader.index["linears"]:
        if entry["name"] not in kept:
            schemes.setdefault((entry["bits"], entry["groupSize"]), []).append(entry["name"])
    # The widths of most come last: readers take the first group that names a layer, and warn of names that come too late.
    ordered = sorted(schemes, key=lambda scheme: (len(schemes[scheme]), scheme))
    groups = {}
    for number, (bits, group_size) in enumerate(ordered):
        groups[f"group_{number}"] = {
            "targets": ["Linear"] if number == len(ordered) - 1 else schemes[(bits, group_size)],
            "weights": {
                "num_bits": bits,
                "type": "int",
                "symmetric": True,
                "strategy": "group" if group_size else "channel",
                "group_size": group_size or None,
                "actorder": None,
                "block_structure": None,
                "dynamic": False,
                "observer": "minmax",
                "observer_kwargs": {},
            },
            "input_activations": None,
            "output_activations": None,
        }
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "config_groups": groups,
        "ignore": unquantized(reader, kept),
        "kv_cache_scheme": None,
    }


def unquantized(reader: Reader, kept: Any) -> List[str]:
    """Modules with a matrix that stays float, among them those that are no Linear, which does no harm."""
    matrices = [
        entry["name"][: -len(".weight")]
        for entry in reader.index["floats"]
        if len(entry["shape"]) == 2 and entry["name"].endswith(".weight")
    ]
    return sorted([*kept, *matrices])
