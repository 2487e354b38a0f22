"""GGUF with Q4_0 and Q8_0 tensors, for llama.cpp: the integers as they are, a scale repeated over its group's blocks.

Architectures whose decoder is that of Llama; names and metadata as llama.cpp's gguf-py has them (constants.py).
"""

import math
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from dopt.errors import DoptError
from dopt.llm.artifact import Layer, Reader
from dopt.llm.export.folder import Kept
from dopt.llm.export.gguf_file import F16, F32, Q4_0, Q8_0, Tensor, pack_q4_0, pack_q8_0, write_gguf
from dopt.llm.export.gguf_tokenizer import tokenizer_metadata
from dopt.llm.export.rounding import cast, largest_change, scales_note

FILE = "model.gguf"
BLOCK = 32


class Family(NamedTuple):
    """``permuted``: llama.cpp rotates neighbouring pairs, so rows of q and k change places."""

    name: str
    permuted: bool


FAMILIES = {
    "LlamaForCausalLM": Family("llama", True),
    "MistralForCausalLM": Family("llama", True),
    "Qwen2ForCausalLM": Family("qwen2", False),
    "Qwen3ForCausalLM": Family("qwen3", False),
}

_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_INSIDE = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write(reader: Reader, out: str, options: Dict[str, Any], events: Any) -> Tuple[List[Kept], List[str]]:
    """Writes model.gguf into the folder ``out``. Raises DoptError EXPORT_ARCHITECTURE for a decoder unlike Llama's."""
    family = _family(reader)
    os.makedirs(out, exist_ok=True)
    kept: List[Kept] = []
    changes: Dict[str, float] = {}
    tensors: List[Tensor] = []
    for layer in [*reader.embeddings(), *reader.linears()]:
        kind, reason = _kind(layer)
        if reason is not None:
            kept.append(Kept(layer.name, reason))
        else:
            changes[layer.name] = largest_change(layer.scales, "float16")
        name, shape = layer.name, tuple(layer.integers.shape)
        tensors.append(Tensor(f"{tensor_name(name)}.weight", shape, kind, lambda n=name, k=kind: _pack(reader, n, k, family)))
    for entry in reader.index["floats"]:
        module, _, suffix = entry["name"].rpartition(".")
        target = f"{tensor_name(module)}.{suffix}"
        kind = F16 if len(entry["shape"]) > 1 else F32
        tensors.append(Tensor(target, tuple(entry["shape"]), kind, lambda n=entry["name"], k=kind: _float(reader, n, k, family)))
    frequencies = rope_factors(reader.config)
    if frequencies is not None:
        tensors.append(Tensor("rope_freqs.weight", frequencies.shape, F32, lambda: frequencies))
    metadata, notes = _metadata(reader, family)
    tensors.sort(key=lambda tensor: tensor.name)
    write_gguf(os.path.join(out, FILE), metadata, tensors, events)
    return kept, [*notes, *scales_note(changes, "float16")]


def tensor_name(module: str) -> str:
    """The name in GGUF of a module of Llama's. Raises DoptError EXPORT_ARCHITECTURE for one that it has not."""
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", module)
    name = _INSIDE.get(match.group(2)) if match else _OUTSIDE.get(module)
    if name is None:
        raise DoptError(
            "EXPORT_ARCHITECTURE",
            f"GGUF has no name for {module}.",
            place=module,
            suggestions=["Export to compressed-tensors or gptq, which name every module."],
        )
    return f"blk.{match.group(1)}.{name}" if match else name


def rope_factors(config: Dict[str, Any]) -> Any:
    """What llama.cpp divides rotary frequencies by for Llama 3's scaling: float32 [head size / 2]; None without scaling."""
    import numpy as np

    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if scaling.get("rope_type", scaling.get("type")) != "llama3":
        return None
    size = _head_size(config)
    base = float(config.get("rope_theta") or scaling.get("rope_theta") or 10000.0)
    low, high = scaling.get("low_freq_factor", 1.0), scaling.get("high_freq_factor", 4.0)
    length, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    wave = 2 * math.pi * base ** (np.arange(0, size, 2) / size)
    smooth = np.clip((length / wave - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)


def why_not(architecture: str, _config: Dict[str, Any]) -> Optional[str]:
    """Why a model cannot be written; None when it can. ``_config``: its config.json."""
    return None if architecture in FAMILIES else f"GGUF is written for {', '.join(FAMILIES)}, not for {architecture}."


def _family(reader: Reader) -> Family:
    architecture = reader.index["architecture"]
    why = why_not(architecture, reader.config)
    if why is not None:
        raise DoptError(
            "EXPORT_ARCHITECTURE",
            why,
            place=reader.model_folder,
            suggestions=["Export to compressed-tensors or gptq, which take any architecture."],
        )
    return FAMILIES[architecture]


def _kind(layer: Layer) -> Tuple[int, Optional[str]]:
    """The type of a layer's tensor, and why it is a float, if it is."""
    inputs, size = layer.integers.shape[1], layer.meta["groupSize"]
    if inputs % BLOCK or size % BLOCK:
        return F16, f"groups of {size or inputs}: blocks have {BLOCK}"
    return (Q4_0 if layer.meta["bits"] <= 4 else Q8_0), None


def _pack(reader: Reader, name: str, kind: int, family: Family) -> Any:
    layer = reader.layer(name)
    integers, scales = (_reorder(array, name, reader, family) for array in (layer.integers, layer.scales))
    if kind == F16:
        return cast(_reorder(layer.dequantized(), name, reader, family), "float16")[0]
    return pack_q4_0(integers, scales) if kind == Q4_0 else pack_q8_0(integers, scales)


def _float(reader: Reader, name: str, kind: int, family: Family) -> Any:
    array = _reorder(reader.float_tensor(name), name.rpartition(".")[0], reader, family)
    return cast(array, "float16" if kind == F16 else "float32")[0]


def _reorder(array: Any, module: str, reader: Reader, family: Family) -> Any:
    """Rows of a head from two halves to pairs, for q and k of a permuted family."""
    import numpy as np

    if not (family.permuted and module.endswith((".q_proj", ".k_proj"))):
        return np.ascontiguousarray(array)
    config = reader.config
    heads = config["num_attention_heads"]
    if module.endswith(".k_proj"):
        heads = config.get("num_key_value_heads") or heads
    halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(array.shape))


def _head_size(config: Dict[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _metadata(reader: Reader, family: Family) -> Tuple[Dict[str, Any], List[str]]:
    config, prefix = reader.config, family.name
    rope = config.get("rope_parameters") or {}
    size = _head_size(config)
    metadata: Dict[str, Any] = {
        "general.architecture": prefix,
        "general.name": str(reader.meta.get("name") or reader.index["architecture"]),
        # MOSTLY_Q4_0 of ggml's file types.
        "general.file_type": 2,
        "general.quantization_version": 2,
        f"{prefix}.block_count": config["num_hidden_layers"],
        f"{prefix}.context_length": config.get("max_position_embeddings", 2048),
        f"{prefix}.embedding_length": config["hidden_size"],
        f"{prefix}.feed_forward_length": config["intermediate_size"],
        f"{prefix}.attention.head_count": config["num_attention_heads"],
        f"{prefix}.attention.head_count_kv": config.get("num_key_value_heads") or config["num_attention_heads"],
        f"{prefix}.attention.key_length": size,
        f"{prefix}.attention.value_length": size,
        f"{prefix}.attention.layer_norm_rms_epsilon": float(config.get("rms_norm_eps", 1e-6)),
        f"{prefix}.rope.dimension_count": size,
        f"{prefix}.rope.freq_base": float(config.get("rope_theta") or rope.get("rope_theta") or 10000.0),
        f"{prefix}.vocab_size": config["vocab_size"],
    }
    tokenizer = tokenizer_metadata(reader.model_folder, prefix, config["vocab_size"])
    if tokenizer is None:
        metadata["tokenizer.ggml.model"] = "none"
        return metadata, ["The folder has no tokenizer.json of BPE: the file has no tokenizer, and runs on token numbers alone."]
    return {**metadata, **tokenizer}, []
