"""Trains a language model of the Llama kind on plain text, small enough for measurements on a CPU.

usage: train_tiny_llama.py OUT TEXT... [--minutes 5 | --steps N] [--width 384] [--blocks 6] [--vocabulary 4096] [--length 256] [--batch 8]
    [--threads 2] [--seed 0]
needs: torch, transformers, tokenizers (the profile `current` or `torch`)

12.2 million weights by default, every width of which groups of 128 divide. Every fiftieth piece of the text is held back; the loss on it is printed at the end. The
folder OUT can be quantized: `dopt llm quantize OUT --out Q`.
"""

import argparse
import json
import math
import os
import time


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("text", nargs="+")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--steps", type=int, help="in the place of minutes: the same model on a fast and on a busy machine")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def texts_of(paths):
    found = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            content = file.read()
        if path.endswith(".json"):
            found += [each if isinstance(each, str) else each["text"] for each in json.loads(content)]
        else:
            found.append(content)
    return found


def train_tokenizer(texts, size, out):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    names = ["<s>", "</s>"]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, special_tokens=names, initial_alphabet=alphabet))
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    with open(os.path.join(out, "tokenizer_config.json"), "w") as file:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}, file)
    return tokenizer


def pieces_of(tokenizer, texts, length):
    """int64 [pieces, length], each beginning with BOS (0)."""
    import torch

    stream = [token for text in texts for token in [*tokenizer.encode(text).ids, 1]]
    body = torch.tensor(stream[: len(stream) // (length - 1) * (length - 1)]).reshape(-1, length - 1)
    return torch.cat([torch.zeros(len(body), 1, dtype=torch.long), body], dim=1)


def main():
    import torch
    import transformers

    given = options()
    torch.manual_seed(given.seed)
    torch.set_num_threads(given.threads)
    os.makedirs(given.out, exist_ok=True)
    texts = texts_of(given.text)
    tokenizer = train_tokenizer(texts, given.vocabulary, given.out)
    pieces = pieces_of(tokenizer, texts, given.length)
    held = torch.arange(len(pieces)) % 50 == 49
    making, judging = pieces[~held], pieces[held]
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=given.width,
        intermediate_size=max(1, round(given.width * 8 / 3 / 128)) * 128,
        num_hidden_layers=given.blocks,
        num_attention_heads=given.width // 64,
        num_key_value_heads=given.width // 64,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    weights = sum(parameter.numel() for parameter in model.parameters())
    print(f"{weights / 1e6:.1f} million weights, {making.numel()} tokens to learn from, {judging.numel()} held back", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1)
    started, step, shown = time.time(), 0, 0.0
    while (share := step / given.steps if given.steps else (time.time() - started) / (60 * given.minutes)) < 1:
        rate = 2e-3 * min(1.0, (step + 1) / 20) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = making[torch.randint(len(making), (given.batch,))]
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if time.time() - shown > 20:
            shown = time.time()
            print(f"step {step}, {share:.0%}, loss {loss.item():.3f}", flush=True)
    model.eval()
    with torch.no_grad():
        losses = [model(input_ids=batch, labels=batch).loss.item() for batch in judging.split(given.batch)]
    print(f"{step} steps, loss on held back text {sum(losses) / len(losses):.4f} nats a token")
    model.save_pretrained(given.out)


if __name__ == "__main__":
    main()
