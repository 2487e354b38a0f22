"""A quantized Llama of two blocks with random integers, for tests of what reads artifacts."""

import json

import numpy as np

from dopt.llm.artifact import Writer

HIDDEN, INNER, VOCABULARY, HEADS, KV_HEADS = 64, 96, 48, 4, 2

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
}

#: A byte-level BPE of the 24 letters from a on, and two merges.
LETTERS = [chr(ord("a") + index) for index in range(24)]
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {"id": 0, "content": "<s>", "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    ],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "post_processor": None,
    "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "truncation": None,
    "padding": None,
    "model": {
        "type": "BPE",
        "vocab": {"<s>": 0, **{letter: index + 1 for index, letter in enumerate(LETTERS)}, "ab": 25, "abc": 26},
        "merges": ["a b", "ab c"],
        "byte_fallback": False,
        "unk_token": None,
    },
}


def linears():
    """Names and shapes, [outputs, inputs], of a block's linears."""
    size = HIDDEN // HEADS
    return {
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (KV_HEADS * size, HIDDEN),
        "self_attn.v_proj": (KV_HEADS * size, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }


def write_tiny(folder, model, group_size=32, half=True, activations=True, head_bits=8):
    """Writes the model's settings into ``model`` and the artifact into ``folder``; ``half``: scales fit into float16."""
    random = np.random.default_rng(1)
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps(CONFIG))
    (model / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (model / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "add_bos_token": True, "tokenizer_class": "PreTrainedTokenizerFast"})
    )

    def quantized(shape, bits, size):
        limit = 1 << (bits - 1)
        integers = random.integers(-limit, limit, shape, dtype=np.int8)
        scales = random.uniform(0.5, 1, (shape[0], shape[1] // size if size else 1)) / limit / np.sqrt(shape[1])
        return integers, scales.astype(np.float16 if half else np.float32).astype(np.float32)

    writer = Writer(str(folder), "tiny")
    writer.embedding("model.embed_tokens", *quantized((VOCABULARY, HIDDEN), 8, 0))
    for block in range(2):
        writer.begin_block(block)
        prefix = f"model.layers.{block}"
        for name, shape in linears().items():
            writer.linear(f"{prefix}.{name}", *quantized(shape, 4, group_size), bits=4, group_size=group_size, strategy="gptq")
        for name in ("input_layernorm", "post_attention_layernorm"):
            writer.floats(f"{prefix}.{name}.weight", random.uniform(0.5, 1.5, HIDDEN).astype(np.float16).astype(np.float32))
        writer.end_block(block)
    writer.floats("model.norm.weight", np.ones(HIDDEN, np.float32))
    writer.linear("lm_head", *quantized((VOCABULARY, HIDDEN), head_bits, 0), bits=head_bits, group_size=0, strategy="rtn")
    if activations:
        writer.activation("model.layers.0.mlp.down_proj:input", 2.0**-14, 5, 16, False, -1.0, 2.0, 71.5)
        writer.activation("lm_head:input", 2.0**-13, 0, 16, True, -3.0, 4.0, None)
    writer.close({"model": str(model), "name": "tiny", "config": {"tie_word_embeddings": False}})
    return str(folder)


def expected(artifact, name):
    """The slow, obvious dequantization: float32 product of one integer and one scale at a time."""
    layer = artifact.layer(name)
    size = layer.integers.shape[1] // layer.scales.shape[1]
    values = [
        [np.float32(q) * layer.scales[n, k // size] for k, q in enumerate(row)] for n, row in enumerate(layer.integers)
    ]
    return np.array(values, np.float32)


def names(artifact):
    return [entry["name"] for entry in artifact.index["linears"]]


def reference(artifact, tokens):
    """Logits of the model of transformers with the weights of the run: float32 [batch, tokens, vocabulary]."""
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(artifact.model_folder)
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    state = {f"{name}.weight": torch.from_numpy(expected(artifact, name)) for name in names(artifact)}
    state["model.embed_tokens.weight"] = torch.from_numpy(expected(artifact, "model.embed_tokens"))
    state.update({name: torch.from_numpy(np.array(array)) for name, array, _ in artifact.floats()})
    model.load_state_dict(state)
    with torch.no_grad():
        return model(torch.from_numpy(tokens)).logits.numpy()
