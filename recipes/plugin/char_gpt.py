"""A character GPT on a text: calibrate, measure, export. Seconds on two cores.

python char_gpt.py WEIGHTS.pth TEXT.txt [--strategy Quant_INT8-8] [--out out]

WEIGHTS: of jt-thorpe/char-GPT, 4 blocks of 64 channels, windows of 48 characters.
"""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F

import dopt.torch

WINDOW, WIDTH = 48, 64


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(WIDTH, 16, bias=False) for _ in range(3))
        self.register_buffer("tril", torch.tril(torch.ones(WINDOW, WINDOW)))

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(-2, -1) * 16**-0.5
        scores = scores.masked_fill(self.tril == 0, float("-inf"))
        return F.softmax(scores, dim=-1) @ self.value(x)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList([Head() for _ in range(4)])
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return self.proj(torch.cat([head(x) for head in self.heads], dim=-1))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2, self.self_attention = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), Attention()
        net = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH))
        self.ffwd = nn.ModuleDict({"net": net})

    def forward(self, x):
        x = x + self.self_attention(self.ln1(x))
        return x + self.ffwd["net"](self.ln2(x))


class CharGpt(nn.Module):
    def __init__(self, vocabulary=65):
        super().__init__()
        self.token_embedding_table = nn.Embedding(vocabulary, WIDTH)
        self.position_embedding_table = nn.Embedding(WINDOW, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(4)))
        self.ln_f, self.lm_head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary)

    def forward(self, tokens):
        x = self.token_embedding_table(tokens) + self.position_embedding_table.weight
        return self.lm_head(self.ln_f(self.blocks(x)))


def nats(network, windows):
    """Mean loss a character."""
    network.eval()
    with torch.no_grad():
        losses = [F.cross_entropy(network(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten()) for part in windows.split(64)]
    return float(torch.stack(losses).mean())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("weights")
    parser.add_argument("text")
    parser.add_argument("--strategy", default="Quant_INT8-8")
    parser.add_argument("--out", default="char-gpt-int8")
    args = parser.parse_args()
    network = CharGpt()
    state = torch.load(args.weights, map_location="cpu")
    network.load_state_dict({name: value[:WINDOW, :WINDOW] if name.endswith("tril") else value for name, value in state.items()})
    text = open(args.text, encoding="utf-8").read()
    index = {char: at for at, char in enumerate(sorted(set(text)))}
    codes = torch.tensor([index[char] for char in text])
    windows = codes[: len(codes) // (WINDOW + 1) * (WINDOW + 1)].view(-1, WINDOW + 1)
    held_out, training = windows[-256:], windows[:-256]
    print(f"float {nats(network, held_out):.4f} nats a character")
    quantized = dopt.torch.prepare(network, f"tokens:1,{WINDOW}", args.strategy)
    dopt.torch.calibrate(quantized, training[torch.randperm(len(training))[:256], :-1].split(64))
    print(f"calibrated {nats(quantized, held_out):.4f} nats a character")
    print(dopt.torch.convert(quantized, args.out, "char-gpt").quantized)


if __name__ == "__main__":
    main()
