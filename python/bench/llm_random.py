"""Writes a Llama of random weights, 1.1 billion by default, as bfloat16 with token numbers beside it: for measuring memory.

    python python/bench/llm_random.py OUT [--blocks 22] [--width 2048] [--inner 5632] [--heads 32] [--vocabulary 32000]

OUT holds the model, OUT/tokens.npy text in numbers. Weights are written block by block, so a small machine can make a large model.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))


def tensors_of(given):
    """(name, shape) of every weight, in parts that go into one file each."""
    width, inner, values = given.width, given.inner, given.width // given.heads * given.kv_heads
    yield [("model.embed_tokens.weight", (given.vocabulary, width)), ("model.norm.weight", (width,)), ("lm_head.weight", (given.vocabulary, width))]
    for index in range(given.blocks):
        prefix = f"model.layers.{index}."
        attention = {"q_proj": (width, width), "k_proj": (values, width), "v_proj": (values, width), "o_proj": (width, width)}
        feed = {"gate_proj": (inner, width), "up_proj": (inner, width), "down_proj": (width, inner)}
        part = [(f"{prefix}self_attn.{name}.weight", shape) for name, shape in attention.items()]
        part += [(f"{prefix}mlp.{name}.weight", shape) for name, shape in feed.items()]
        yield part + [(f"{prefix}{name}.weight", (width,)) for name in ("input_layernorm", "post_attention_layernorm")]


def main():
    import numpy as np
    from dopt import safetensors

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    usual = {"blocks": 22, "width": 2048, "inner": 5632, "heads": 32, "kv-heads": 4, "vocabulary": 32000, "tokens": 65536}
    for name, value in usual.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    os.makedirs(given.out, exist_ok=True)
    random = np.random.default_rng(0)
    places, total = {}, 0
    for number, part in enumerate(tensors_of(given)):
        file = f"model-{number:05d}.safetensors"
        made = {}
        for name, shape in part:
            values = np.ones(shape, np.float32) if len(shape) == 1 else random.standard_normal(shape, np.float32) * 0.02
            made[name] = (values.view(np.uint32) >> 16).astype(np.uint16)
            total += made[name].size
        specs = {name: safetensors.TensorSpec("BF16", bits.shape) for name, bits in made.items()}
        safetensors.write(os.path.join(given.out, file), made, specs)
        places.update((name, file) for name in made)
    with open(os.path.join(given.out, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {}, "weight_map": places}, file)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": given.width,
        "intermediate_size": given.inner,
        "num_hidden_layers": given.blocks,
        "num_attention_heads": given.heads,
        "num_key_value_heads": given.kv_heads,
        "vocab_size": given.vocabulary,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    with open(os.path.join(given.out, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    np.save(os.path.join(given.out, "tokens.npy"), random.integers(3, given.vocabulary, given.tokens))
    print(f"{total / 1e6:.0f} million weights")


if __name__ == "__main__":
    main()
