"""Attention written out as two products with a softmax between them, so that the products can be quantized."""

import contextlib
import math
from typing import Any, Iterator, Optional, Tuple

import torch
import torch.nn.functional as functional
from torch import Tensor, fx, nn

from dopt.doors.torch.patches import Replacements


@fx.wrap
def masked(scores: Tensor, mask: Optional[Tensor], causal: bool) -> Tensor:
    """Scores with -inf where a boolean mask (True: attend) or causality forbids, or with a float mask added."""
    if causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(allowed.logical_not(), -math.inf)
    if mask is None:
        return scores
    if mask.dtype == torch.bool:
        return scores.masked_fill(mask.logical_not(), -math.inf)
    return scores + mask


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Optional[float] = None,
) -> Any:
    """torch.nn.functional.scaled_dot_product_attention: softmax(q·kᵀ·scale + mask)·v."""
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = masked(torch.matmul(query, key.transpose(-2, -1)) * factor, attn_mask, is_causal)
    weights = functional.softmax(scores, -1)
    if dropout_p > 0:
        weights = functional.dropout(weights, dropout_p, True)
    return torch.matmul(weights, value)


@contextlib.contextmanager
def captured_attention() -> Iterator[None]:
    """While a graph is captured, torch 2's fused attention is written out."""
    with Replacements() as replacements:
        replacements.replace(functional, "scaled_dot_product_attention", lambda _: attention)
        yield


class ComposedAttention:
    """What nn.MultiheadAttention becomes: the same parameters and results, its products visible.

    ``in_proj`` is a fully connected layer that shares the module's parameters.
    """

    is_composed = True

    def compose(self: Any) -> None:
        """Adds the layer of the input projections."""
        self.in_proj = _linear(self.in_proj_weight, self.in_proj_bias)

    def forward(
        self: Any,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Tuple[Any, Any]:
        same, key_same = query is key, key is value
        if self.batch_first:
            query = query.transpose(0, 1)
            key = query if same else key.transpose(0, 1)
            value = key if key_same else value.transpose(0, 1)
        if same and key_same:
            q, k, v = self.in_proj(query).chunk(3, dim=-1)
        else:
            q = self.in_proj(query).chunk(3, dim=-1)[0]
            k, v = self.in_proj(key).chunk(3, dim=-1)[1], self.in_proj(value).chunk(3, dim=-1)[2]
        q, k, v = (self._heads(each) for each in (q, k, v))
        scores = torch.matmul(q, k.transpose(-2, -1)) * self.head_dim**-0.5
        scores = forbidden(scores, attn_mask, key_padding_mask)
        weights = functional.softmax(scores, -1)
        dropped = functional.dropout(weights, self.dropout, self.training) if self.dropout else weights
        joined = torch.matmul(dropped, v).transpose(1, 2).flatten(2)
        y = self.out_proj(joined if self.batch_first else joined.transpose(0, 1))
        if not need_weights:
            return y, None
        return y, weights.mean(1) if average_attn_weights else weights

    def _heads(self: Any, x: Any) -> Any:
        """[length, batch, width] to [batch, heads, length, width of a head]."""
        return x.reshape(x.shape[0], x.shape[1], self.num_heads, self.head_dim).permute(1, 2, 0, 3)


@fx.wrap
def forbidden(scores: Tensor, mask: Optional[Tensor], padding: Optional[Tensor]) -> Tensor:
    """Scores [batch, heads, queries, keys] with the masks of nn.MultiheadAttention: there, True forbids."""
    for each in (mask, None if padding is None else padding[:, None, None, :]):
        if each is None:
            continue
        if each.dim() == 3:
            each = each.view(scores.shape[0], -1, *each.shape[1:])
        scores = scores.masked_fill(each, -math.inf) if each.dtype == torch.bool else scores + each
    return scores


def compose_attention(network: nn.Module) -> None:
    """Rewrites every nn.MultiheadAttention whose form is covered, in place: equal widths, no added rows."""
    for module in list(network.modules()):
        plain = type(module) is nn.MultiheadAttention and module._qkv_same_embed_dim
        if plain and module.bias_k is None and not module.add_zero_attn:
            module.__class__ = type("ComposedMultiheadAttention", (ComposedAttention, nn.MultiheadAttention), {})
            module.compose()


def _linear(weight: nn.Parameter, bias: Optional[nn.Parameter]) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight, layer.bias = weight, bias
    layer.out_features, layer.in_features = weight.shape
    return layer
