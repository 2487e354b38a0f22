"""A model of llama2.c (github.com/karpathy/llama2.c, `.bin` of version 0, with its tokenizer) as a Hugging Face folder.

usage: llama2c_to_hf.py MODEL.bin TOKENIZER.bin OUT
needs: numpy, safetensors, tokenizers

The file holds seven int32 (dim, hidden, layers, heads, key/value heads, vocabulary, context; a negative vocabulary: the head
is not tied) and float32 matrices, each for all layers at once. Its rotary embedding turns neighbouring pairs; transformers
turns the two halves of a head, so rows of the query and key matrices change places.
"""

import json
import os
import struct
import sys

import numpy as np


def read(path):
    """Settings and matrices, by the names of llama2.c."""
    with open(path, "rb") as file:
        data = file.read()
    dim, hidden, layers, heads, kv_heads, vocabulary, context = struct.unpack("<7i", data[:28])
    settings = dict(dim=dim, hidden=hidden, layers=layers, heads=heads, kv_heads=kv_heads, context=context)
    settings["vocabulary"] = abs(vocabulary)
    kv, size = dim // heads * kv_heads, dim // heads
    shapes = {
        "embedding": (abs(vocabulary), dim),
        "rms_att": (layers, dim),
        "wq": (layers, dim, dim),
        "wk": (layers, kv, dim),
        "wv": (layers, kv, dim),
        "wo": (layers, dim, dim),
        "rms_ffn": (layers, dim),
        "w1": (layers, hidden, dim),
        "w2": (layers, dim, hidden),
        "w3": (layers, hidden, dim),
        "rms_final": (dim,),
        "cos": (context, size // 2),
        "sin": (context, size // 2),
    }
    if vocabulary < 0:
        shapes["head"] = (-vocabulary, dim)
    arrays, offset = {}, 28
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(data, "<f4", count, offset).reshape(shape)
        offset += 4 * count
    if offset != len(data):
        raise SystemExit(f"{path} has {len(data)} bytes, its header promises {offset}")
    return settings, arrays


def halves(matrix, heads):
    """Rows of neighbouring pairs as rows of two halves, head by head."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, rows // heads // 2, 2, columns).transpose(0, 2, 1, 3).reshape(rows, columns)


def tensors_of(settings, arrays):
    """Weights by the names of transformers."""
    found = {"model.embed_tokens.weight": arrays["embedding"], "model.norm.weight": arrays["rms_final"]}
    if "head" in arrays:
        found["lm_head.weight"] = arrays["head"]
    for layer in range(settings["layers"]):
        block = f"model.layers.{layer}"
        found[f"{block}.input_layernorm.weight"] = arrays["rms_att"][layer]
        found[f"{block}.post_attention_layernorm.weight"] = arrays["rms_ffn"][layer]
        found[f"{block}.self_attn.q_proj.weight"] = halves(arrays["wq"][layer], settings["heads"])
        found[f"{block}.self_attn.k_proj.weight"] = halves(arrays["wk"][layer], settings["kv_heads"])
        found[f"{block}.self_attn.v_proj.weight"] = arrays["wv"][layer]
        found[f"{block}.self_attn.o_proj.weight"] = arrays["wo"][layer]
        found[f"{block}.mlp.gate_proj.weight"] = arrays["w1"][layer]
        found[f"{block}.mlp.down_proj.weight"] = arrays["w2"][layer]
        found[f"{block}.mlp.up_proj.weight"] = arrays["w3"][layer]
    return {name: np.ascontiguousarray(array) for name, array in found.items()}


def config_of(settings, tied):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": settings["dim"],
        "intermediate_size": settings["hidden"],
        "num_hidden_layers": settings["layers"],
        "num_attention_heads": settings["heads"],
        "num_key_value_heads": settings["kv_heads"],
        "vocab_size": settings["vocabulary"],
        "max_position_embeddings": settings["context"],
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    }


def read_tokens(path):
    """(text, score) of every token, in order."""
    with open(path, "rb") as file:
        data = file.read()
    tokens, offset = [], 4
    while offset < len(data):
        score, length = struct.unpack_from("<fi", data, offset)
        tokens.append((data[offset + 8 : offset + 8 + length].decode("utf-8"), score))
        offset += 8 + length
    return tokens


def tokenizer_of(tokens):
    """A tokenizer of the library `tokenizers` that merges as llama2.c does: the pair of the highest score first."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    special = {0: "<unk>", 1: "<s>", 2: "</s>"}
    texts = [special.get(index, text.replace(" ", "▁")) for index, (text, _) in enumerate(tokens)]
    vocabulary = {text: index for index, text in enumerate(texts)}
    order = sorted((index for index in range(3, len(texts)) if len(texts[index]) > 1), key=lambda index: -tokens[index][1])
    merges = []
    for index in order:
        text = texts[index]
        merges += [(text[:i], text[i:]) for i in range(1, len(text)) if text[:i] in vocabulary and text[i:] in vocabulary]
    model = models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(list(special.values()))
    return tokenizer


def convert(model, tokens, out):
    """Writes the folder."""
    from safetensors.numpy import save_file

    settings, arrays = read(model)
    os.makedirs(out, exist_ok=True)
    save_file(tensors_of(settings, arrays), os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(out, "config.json"), "w") as file:
        json.dump(config_of(settings, "head" not in arrays), file, indent=2)
    tokenizer_of(read_tokens(tokens)).save(os.path.join(out, "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    with open(os.path.join(out, "tokenizer_config.json"), "w") as file:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": settings["context"], **names}, file, indent=2)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    convert(*sys.argv[1:])
