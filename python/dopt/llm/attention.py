"""Attention in one kernel, in passes that nobody looks into.

``dopt.llm.taps`` looks into attention by its products, so networks are built with "eager" attention, which forms the weights
[batch, heads, length, length] and reads them several times. Where no tensor of it is wanted, PyTorch's fused kernel
(FlashAttention, arXiv:2205.14135) gives the same to rounding, in less time and without the weights.
"""

import contextlib
import sys
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

#: The name of ``_Attention`` among the implementations that transformers knows.
_NAME = "dopt"


def can_fuse(network: Any, block: Any) -> bool:
    """Whether a block lets its attention be replaced, and its family says that the kernel computes the same (none in version 4 of
    transformers; not where scores have a cap or a sink)."""
    return bool(getattr(network, "_supports_sdpa", False)) and _implementations() is not None and bool(_configs(block))


@contextlib.contextmanager
def fused(block: Any, wanted: Callable[[], bool]) -> Iterator[None]:
    """While attention runs in one kernel on threads on which ``wanted()`` is true. Only for a block that ``can_fuse``, one at a time."""
    configs = _configs(block)
    before = {key: config._attn_implementation for key, config in configs.items()}
    _implementations().register(_NAME, _attention)  # type: ignore[union-attr]
    try:
        _attention.begin(wanted)
        for config in configs.values():
            config._attn_implementation = _NAME
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]
        _attention.begin(None)


class _Attention:
    """An implementation of attention for transformers: ``(module, query, key, value, mask, …) -> (context, weights or None)``.

    transformers keeps what was registered for good, so there is one, which holds nothing between uses.
    """

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, wanted: Optional[Callable[[], bool]]) -> None:
        """Who decides from now on; None: nobody, and what was known is forgotten."""
        self._wanted = wanted
        self._causal: Dict[int, Tuple[Any, bool]] = {}

    def __call__(self, module: Any, query: Any, key: Any, value: Any, mask: Optional[Any], **how: Any) -> Any:
        if self._wanted is None or not self._wanted():
            return _code_of(module).eager_attention_forward(module, query, key, value, mask, **how)
        if mask is not None and self._is_causal(mask):  # told so, the kernel leaves out what is masked
            mask = None
        known = getattr(_code_of(module), "ALL_ATTENTION_FUNCTIONS", None) or _implementations()
        return known["sdpa"](module, query, key, value, mask, **how)

    def _is_causal(self, mask: Any) -> bool:
        """Whether a mask hides the tokens to come and nothing else; all calls of a run share few masks, which live as long."""
        if id(mask) not in self._causal:
            self._causal[id(mask)] = (mask, _hides_what_comes(mask))
        return self._causal[id(mask)][1]


_attention = _Attention()


def _hides_what_comes(mask: Any) -> bool:
    import torch

    if mask.ndim != 4 or mask.shape[2] != mask.shape[3]:
        return False
    seen = mask if mask.dtype == torch.bool else mask == 0
    return bool((seen == torch.ones_like(seen).tril()).all())


def _configs(block: Any) -> Dict[int, Any]:
    """Settings of modules of attention that ask transformers for an implementation, by identity."""
    asking = [each for each in block.modules() if hasattr(each, "config") and hasattr(each, "is_causal")]
    found = [each.config for each in asking if hasattr(_code_of(each), "eager_attention_forward")]
    return {id(each): each for each in found}


def _code_of(module: Any) -> Any:
    """The file of a family's own code, which has what it computes attention with where that is not replaced."""
    return sys.modules[type(module).__module__]


def _implementations() -> Optional[Any]:
    try:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    except ImportError:
        return None
    return ALL_ATTENTION_FUNCTIONS
