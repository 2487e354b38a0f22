"""A small character GPT: 4 layers of width 64, 4 heads, 65 characters, windows of 48.

After Radford et al.: "Language Models are Unsupervised Multitask Learners", 2019 (GPT-2: layer norm first), with the
attention of Vaswani et al. (arXiv 1706.03762). Parameter names are those of the published weights file
(jt-thorpe/char-GPT); its dropout layers, which hold no weights, are left out.
"""
import torch
import torch.nn as nn


class Head(nn.Module):
    """One causal attention head. The mask is a buffer, so an exported graph holds it as a constant."""

    def __init__(self, width, size, window):
        super().__init__()
        self.key = nn.Linear(width, size, bias=False)
        self.query = nn.Linear(width, size, bias=False)
        self.value = nn.Linear(width, size, bias=False)
        self.scale = size ** -0.5
        self.register_buffer("tril", torch.ones(window, window).tril())

    def forward(self, x):
        scores = torch.matmul(self.query(x), self.key(x).transpose(1, 2)) * self.scale
        scores = scores.masked_fill(self.tril == 0, float("-inf"))
        return torch.matmul(scores.softmax(-1), self.value(x))

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        # A weights file may hold the mask of a longer window: its top left corner is this one's mask.
        mask = state_dict.get(prefix + "tril")
        if mask is not None:
            window = self.tril.shape[0]
            state_dict[prefix + "tril"] = mask[:window, :window]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class SelfAttention(nn.Module):
    """Heads side by side, then one linear layer."""

    def __init__(self, width, heads, window):
        super().__init__()
        self.heads = nn.ModuleList([Head(width, width // heads, window) for _ in range(heads)])
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        return self.proj(torch.cat([head(x) for head in self.heads], -1))


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self, width):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, x):
        return self.net(x)


class Block(nn.Module):
    """Attention and feed-forward layers, each behind a layer norm and added to its input."""

    def __init__(self, width, heads, window):
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.self_attention = SelfAttention(width, heads, window)
        self.ln2 = nn.LayerNorm(width)
        self.ffwd = FeedForward(width)

    def forward(self, x):
        x = x + self.self_attention(self.ln1(x))
        return x + self.ffwd(self.ln2(x))


class CharGPT(nn.Module):
    """Character numbers (N, 48), int64, to scores of the next character (N, 48, 65). The window's length is fixed."""

    def __init__(self, vocabulary=65, width=64, heads=4, layers=4, window=48):
        super().__init__()
        self.token_embedding_table = nn.Embedding(vocabulary, width)
        self.position_embedding_table = nn.Embedding(window, width)
        self.blocks = nn.Sequential(*(Block(width, heads, window) for _ in range(layers)))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocabulary)
        self.register_buffer("positions", torch.arange(window), persistent=False)

    def forward(self, ids):
        x = self.token_embedding_table(ids) + self.position_embedding_table(self.positions)
        return self.lm_head(self.ln_f(self.blocks(x)))


class NextCharacter(CharGPT):
    """Scores (N, 65) of the character that follows the window: what a text is continued by."""

    def forward(self, ids):
        return super().forward(ids)[:, -1]
