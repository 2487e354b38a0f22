"""GPTQ, version 1 of the checkpoint format: the widest spread one.

Per layer ``qweight`` int32 [K · bits / 32, N], consecutive inputs in a word; ``qzeros`` int32 [G, N · bits / 32], the zero − 1;
``scales`` float16 [G, N]; ``g_idx`` int32 [K]. Source: AutoGPTQ `qlinear_cuda`, GPTQModel's documentation of v1 and v2.
"""

import json
import os
import re
from typing import Any, Dict, List, Tuple

from dopt.capture.save import write_bytes
from dopt.llm.artifact import Layer, Reader
from dopt.llm.export.compressed_tensors import unquantized
from dopt.llm.export.folder import Kept, float_dtype, write_config, write_folder
from dopt.llm.export.rounding import cast, largest_change, scales_note
from dopt.llm.export.packing import pack_rows, pack_zeros


def write(reader: Reader, out: str, options: Dict[str, Any], events: Any) -> Tuple[List[Kept], List[str]]:
    """Writes the folder; returns layers that stay float and notes. Scales are float16, as the format has them."""
    import numpy as np

    changes: Dict[str, float] = {}

    def convert(layer: Layer) -> Any:
        bits = layer.meta["bits"]
        outputs, inputs = layer.integers.shape
        per_word = 32 // bits
        if bits not in (4, 8):
            return f"{bits} bits: the format packs 4 or 8 for a symmetric grid"
        if inputs % per_word or outputs % per_word:
            return f"shape {outputs}x{inputs}: both must be multiples of {per_word}"
        changes[layer.name] = largest_change(layer.scales, "float16")
        groups = layer.scales.shape[1]
        return {
            "qweight": pack_rows(layer.integers, bits),
            "qzeros": pack_zeros((1 << (bits - 1)) - 1, groups, outputs, bits),
            "scales": cast(np.ascontiguousarray(layer.scales.T), "float16"),
            "g_idx": (np.arange(inputs) // (inputs // groups)).astype(np.int32),
        }

    dtype = float_dtype(reader, options.get("dtype"))
    # Readers of GPTQ take a Conv1D for the linear layer that it is.
    kept = write_folder(reader, out, convert, dtype, events, kinds=("conv1d",))
    settings = configuration(reader, {each.name for each in kept})
    write_config(out, {"dtype": dtype, "torch_dtype": dtype}, settings)
    write_bytes(os.path.join(out, "quantize_config.json"), json.dumps(settings, indent=2).encode() + b"\n")
    return kept, list(scales_note(changes, "float16"))


def configuration(reader: Reader, kept: Any) -> Dict[str, Any]:
    """``quantization_config``; layers unlike most are told in ``dynamic``, by patterns over their names."""
    done = [entry for entry in reader.index["linears"] if entry["name"] not in kept]
    schemes = [(entry["bits"], entry["groupSize"] or -1) for entry in done]
    bits, group_size = max(set(schemes), key=lambda scheme: (schemes.count(scheme), scheme), default=(4, 128))
    dynamic: Dict[str, Dict[str, int]] = {f"-:^{re.escape(name)}$": {} for name in unquantized(reader, kept)}
    for entry, (width, size) in zip(done, schemes):
        if (width, size) != (bits, group_size):
            dynamic[f"+:^{re.escape(entry['name'])}$"] = {"bits": width, "group_size": size}
    return {
        "quant_method": "gptq",
        "checkpoint_format": "gptq",
        "bits": bits,
        "group_size": group_size,
        "desc_act": False,
        "static_groups": True,
        "sym": True,
        "true_sequential": True,
        "damp_percent": 0.01,
        "lm_head": any(entry["name"].split(".")[-1] == "lm_head" for entry in done),
        "pack_dtype": "int32",
        "meta": {"quantizer": ["dopt"]},
        "dynamic": dynamic,
    }
