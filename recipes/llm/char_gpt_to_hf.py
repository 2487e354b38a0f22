"""The character GPT of github.com/jt-thorpe/char-GPT as a Hugging Face folder.

usage: char_gpt_to_hf.py WEIGHTS.pth TEXT OUT
needs: torch, transformers, tokenizers

TEXT is what it was trained on: its characters, sorted, are the tokens. The network is an OPT of transformers: norms with means
before each part, ReLU, learned positions. What OPT has none of is the bias of the head. It moves into the last norm: with
a row of the head for each of 65 characters and 64 channels, some d and c satisfy W d + c = bias, and probabilities are blind to c.
"""

import json
import os
import sys

WINDOW, WIDTH, BLOCKS, HEADS = 48, 64, 4, 4
#: Rows that OPT leaves free in front of its positions.
OFFSET = 2


def tensors_of(state):
    """Weights by their names in transformers."""
    import torch

    positions = state["position_embedding_table.weight"][:WINDOW]
    head, shift = state["lm_head.weight"], state["lm_head.bias"]
    moved = torch.linalg.solve(torch.cat([head, torch.ones(len(head), 1)], dim=1).double(), shift.double())[:-1].float()
    outside = {
        "model.decoder.embed_tokens.weight": state["token_embedding_table.weight"],
        "model.decoder.embed_positions.weight": torch.cat([torch.zeros(OFFSET, WIDTH), positions]),
        "model.decoder.final_layer_norm.weight": state["ln_f.weight"],
        "model.decoder.final_layer_norm.bias": state["ln_f.bias"] + moved,
        "lm_head.weight": head,
    }
    return {**outside, **{name: each for index in range(BLOCKS) for name, each in block_of(state, index)}}


def block_of(state, index):
    """(name, tensor) of a block; its four heads lie one behind the other."""
    import torch

    old, new = f"blocks.{index}.", f"model.decoder.layers.{index}."
    for name in ("query", "key", "value"):
        parts = [state[f"{old}self_attention.heads.{head}.{name}.weight"] for head in range(HEADS)]
        yield f"{new}self_attn.{name[0]}_proj.weight", torch.cat(parts)
        yield f"{new}self_attn.{name[0]}_proj.bias", torch.zeros(WIDTH)
    places = {
        "self_attention.proj": "self_attn.out_proj",
        "ln1": "self_attn_layer_norm",
        "ln2": "final_layer_norm",
        "ffwd.net.0": "fc1",
        "ffwd.net.2": "fc2",
    }
    for there, here in places.items():
        for leaf in ("weight", "bias"):
            yield f"{new}{here}.{leaf}", state[f"{old}{there}.{leaf}"]


def tokenizer_of(characters):
    """A tokenizer of the library `tokenizers` with a token a character."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({char: index for index, char in enumerate(characters)}, unk_token=characters[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def convert(weights, text, out):
    import torch
    import transformers

    os.makedirs(out, exist_ok=True)
    with open(text, encoding="utf-8") as file:
        characters = sorted(set(file.read()))
    config = transformers.OPTConfig(
        vocab_size=len(characters),
        hidden_size=WIDTH,
        word_embed_proj_dim=WIDTH,
        ffn_dim=4 * WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        max_position_embeddings=WINDOW,
        do_layer_norm_before=True,
        activation_function="relu",
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    model = transformers.OPTForCausalLM(config)
    missing, unknown = model.load_state_dict(tensors_of(torch.load(weights, map_location="cpu")), strict=False)
    if missing or unknown:
        sys.exit(f"not the weights of that network: {missing} are missing, {unknown} have no place")
    model.save_pretrained(out)
    tokenizer_of(characters).save(os.path.join(out, "tokenizer.json"))
    with open(os.path.join(out, "tokenizer_config.json"), "w") as file:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": WINDOW}, file)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    convert(*sys.argv[1:])
