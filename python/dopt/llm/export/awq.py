"""AWQ in its GEMM layout.

Per layer ``qweight`` int32 [K, N / 8], eight outputs in a word in AWQ's order; ``qzeros`` int32 [G, N / 8] in the same order;
``scales`` float16 [G, N]. One width and one group size hold for the whole model. Source: AutoAWQ `WQLinear_GEMM`.
"""

from typing import Any, Dict, List, Tuple

from dopt.llm.artifact import Layer, Reader
from dopt.llm.export.compressed_tensors import unquantized
from dopt.llm.export.folder import Kept, float_dtype, write_config, write_folder
from dopt.llm.export.rounding import cast, largest_change, scales_note
from dopt.llm.export.packing import pack_awq, pack_zeros


def write(reader: Reader, out: str, options: Dict[str, Any], events: Any) -> Tuple[List[Kept], List[str]]:
    """Writes the folder; returns layers that stay float and notes. Scales are float16, as the format has them."""
    import numpy as np

    sizes = [entry["groupSize"] for entry in reader.index["linears"] if entry["bits"] == 4]
    common = max(set(sizes), key=lambda size: (sizes.count(size), size), default=0)
    changes: Dict[str, float] = {}

    def convert(layer: Layer) -> Any:
        outputs, inputs = layer.integers.shape
        if layer.meta["bits"] != 4:
            return f"{layer.meta['bits']} bits: the format knows 4"
        if layer.meta["groupSize"] != common:
            return f"groups of {layer.meta['groupSize'] or 'a row'}: the format has one size for all, here {common or 'a row'}"
        if outputs % 8:
            return f"{outputs} outputs: must be a multiple of 8"
        changes[layer.name] = largest_change(layer.scales, "float16")
        return {
            "qweight": pack_awq(layer.integers),
            "qzeros": pack_zeros(8, layer.scales.shape[1], outputs, 4),
            "scales": cast(np.ascontiguousarray(layer.scales.T), "float16"),
        }

    dtype = float_dtype(reader, options.get("dtype"))
    kept = write_folder(reader, out, convert, dtype, events)
    settings = {
        "quant_method": "awq",
        "version": "gemm",
        "bits": 4,
        "group_size": common or -1,
        "zero_point": True,
        "modules_to_not_convert": unquantized(reader, {each.name for each in kept}),
    }
    write_config(out, {"dtype": dtype, "torch_dtype": dtype}, settings)
    return kept, list(scales_note(changes, "float16"))
