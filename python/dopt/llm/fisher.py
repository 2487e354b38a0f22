"""What errors of queries and keys cost: the Fisher information of attention's choice of tokens.

Attention gives each token a distribution p over the tokens before it. Small changes d of the outputs of a linear that queries or
keys are made of move it by a divergence of d^T F d / 2, F the Fisher information: E[g g^T] with g the gradient of log p[j] for a
token j drawn from p (Martens, arXiv:1412.1193, section 5). Directions of a head's outputs differ in it by orders of
magnitude, so that rows of a head are rounded together (YAQA, arXiv:2505.22988, with the distribution of attention in the place
of the model's: nothing behind the block is needed).

Gradients come from running the block's own attention, through rotary embeddings and norms of heads, on some tokens of the float
model.
"""

import contextlib
from typing import Any, Dict, Iterator, List, Optional

from dopt.llm.linear import FLOAT, Stop, outputs_told, use
from dopt.llm.taps import tapped

#: Tokens whose choices are drawn, and how many of them attend to each other.
TOKENS, LENGTH = 2048, 256
#: How far from one a sum of all shares may be.
ROUNDING = 1e-3


def information(stream: Any, index: int, states: List[Optional[Any]], seed: int) -> Dict[str, Any]:
    """Fisher information about the outputs of linears of a loaded block, by name: float64 [heads, width, width], for those that
    attention's weights depend on. ``states``: hidden states before the block, [batch, length, width], some None.

    Empty where the block computes attention in another way than by two products.
    """
    import torch

    random = torch.Generator().manual_seed(seed)
    found: Dict[str, Any] = {}
    for hidden in _pieces(states):
        choice = _Choice(stream.prefix(index))
        with choice.followed(stream.block(index)), torch.enable_grad(), use(FLOAT), contextlib.suppress(Stop):
            stream.run(index, hidden)
        for name, gradient in choice.gradients(random).items():
            heads = gradient.double().reshape(-1, gradient.shape[-1] // choice.width, choice.width).transpose(0, 1)
            found[name] = found.get(name, 0) + heads.transpose(1, 2) @ heads
    return found


def _pieces(states: List[Optional[Any]]) -> Iterator[Any]:
    """Hidden states [1, length, width] of the beginnings of samples, as many as make ``TOKENS``."""
    tokens = 0
    for batch in states:
        for sample in () if batch is None else batch.split(1):
            if tokens >= TOKENS:
                return
            piece = sample[:, :LENGTH]
            tokens += piece.shape[1]
            yield piece


class _Choice:
    """One pass up to attention's weights, with what they depend on."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.width = 0
        self._outputs: Dict[str, Any] = {}
        self._weights: Optional[Any] = None

    @contextlib.contextmanager
    def followed(self, block: Any) -> Iterator[None]:
        """While the pass runs, which ends at attention's weights."""
        with outputs_told(block, self._keep), tapped(block, self._prefix, self._see):
            yield

    def gradients(self, random: Any) -> Dict[str, Any]:
        """Of the logarithm of the weight of a drawn token, for every token and head, about the outputs of linears."""
        import torch

        weights = self._weights
        if weights is None or not weights.requires_grad:
            return {}
        drawn = torch.rand(weights.shape[:-1], generator=random).to(weights.device)[..., None]
        token = (weights.detach().cumsum(dim=-1) < drawn).sum(dim=-1, keepdim=True).clamp_(max=weights.shape[-1] - 1)
        left = 1 - weights.sum(dim=-1, keepdim=True)  # what a sink takes (GPT-OSS), which is a choice as well
        chosen = torch.where((drawn > 1 - left) & (left > ROUNDING), left, weights.gather(-1, token))
        told = torch.where(chosen > 0, 1 / chosen, torch.zeros_like(chosen)).detach()
        names = [name for name, out in self._outputs.items() if out.requires_grad and out.shape[-1] % self.width == 0]
        outputs = [self._outputs[name] for name in names]
        found = torch.autograd.grad(chosen, outputs, grad_outputs=told, allow_unused=True)
        return {name: gradient for name, gradient in zip(names, found) if gradient is not None}

    def _keep(self, name: str, out: Any) -> Any:
        self._outputs[name] = out if out.requires_grad else out.requires_grad_()
        return out

    def _see(self, name: str, tensor: Any) -> Any:
        if name.endswith(".attention:query"):
            self.width = int(tensor.shape[-1])
        if name.endswith(".attention:probabilities"):
            self._weights = tensor if _are_shares(tensor) else None
            raise Stop()
        return tensor


def _are_shares(weights: Any) -> bool:
    """Whether weights [batch, heads, length, length] are shares of a whole."""
    known = weights.detach()
    return bool(weights.ndim == 4 and (known >= 0).all() and (known.sum(dim=-1) < 1 + ROUNDING).all())
