"""The tensors of a decoder that a device computes in integers, reached while transformers runs it.

``tapped`` calls ``tap(name, tensor)`` for each of them and goes on with what it returns, so the same places serve to observe
ranges and to round. Names are those of modules and ``:input`` or ``:output``; inside of attention, whose products are
functions, ``BLOCK.attention:query, key, scores, probabilities, value, context``.

Which tensors: inputs and outputs of linears, norms (the input of a norm is the residual stream) and activation functions,
the operands and results of attention's products, the block's output. Softmax and the sigmoid inside of SiLU have the range
0..1 and need no data.
"""

import contextlib
import threading
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

Tap = Callable[[str, Any], Any]

#: Operands and result of the products of attention, in the order of the calls.
_PRODUCTS = (("query", "key", "scores"), ("probabilities", "value", "context"))
#: Operands that a decoder keeps for the tokens to come.
CACHED = (".attention:key", ".attention:value")
#: Edges with a fixed range, and why.
FIXED = {"attention:probabilities": "softmax", ".sigmoid:output": "sigmoid"}

_thread = threading.local()


@contextlib.contextmanager
def tapped(block: Any, prefix: str, tap: Tap, skip: Tuple[str, ...] = ()) -> Iterator[None]:
    """While the tensors of a block go through ``tap``. ``skip``: prefixes of modules below that are not tapped."""
    handles: List[Any] = []
    try:
        for path, module in block.named_modules():
            name = ".".join(part for part in (prefix, path) if part)
            if any(name.startswith(each) for each in skip):
                continue
            handles += _hooks(module, name, tap)
        if prefix:
            handles.append(block.register_forward_pre_hook(lambda *_: _begin(prefix, tap)))
            handles.append(block.register_forward_hook(lambda _m, _i, out: _finish(prefix, tap, out)))
        with _products.replaced():
            yield
    finally:
        for handle in handles:
            handle.remove()


def fixed_rule(name: str) -> Optional[str]:
    """Why an edge has the range 0..1; None for one whose range is observed."""
    return next((rule for ending, rule in FIXED.items() if name.endswith(ending)), None)


def shared_names(names: List[str]) -> List[List[str]]:
    """Edges that have one scale: what goes into the key and value cache, and what rotary embeddings turn."""
    groups: Dict[str, List[str]] = {}
    for name in names:
        block, _, edge = name.rpartition(".")
        for projection, operand in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
            if edge == f"{projection}:output":
                groups.setdefault(f"{block.rpartition('.')[0]}/{operand}", []).append(name)
            elif edge == f"attention:{operand}":
                groups.setdefault(f"{block}/{operand}", []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _hooks(module: Any, name: str, tap: Tap) -> List[Any]:
    kind = _kind(module)
    if kind is None:
        return []
    handles = []
    if kind in ("linear", "norm"):
        handles.append(module.register_forward_pre_hook(lambda _m, given: (tap(f"{name}:input", given[0]), *given[1:])))
    if kind == "silu":
        handles.append(module.register_forward_hook(lambda _m, given, _out: tap(f"{name}:output", _silu(name, tap, given[0]))))
    else:
        handles.append(module.register_forward_hook(lambda _m, _i, out: tap(f"{name}:output", out)))
    return handles


def _kind(module: Any) -> Optional[str]:
    """linear, norm, silu, function, or None for what is not tapped."""
    import torch

    name = type(module).__name__
    if isinstance(module, torch.nn.Linear) or name in ("StreamedLinear", "Conv1D"):
        return "linear"
    if isinstance(module, torch.nn.Embedding):
        return "embedding"
    if "Norm" in name:
        return "norm"
    if next(module.children(), None) is not None or next(module.parameters(), None) is not None:
        return None
    if name in ("SiLU", "SiLUActivation"):
        return "silu"
    functions = ("GELU", "ReLU", "Tanh", "Sigmoid", "Mish", "Activation", "Swish")
    return "function" if any(each in name for each in functions) else None


def _silu(name: str, tap: Tap, x: Any) -> Any:
    import torch

    return x * tap(f"{name}.sigmoid:output", torch.sigmoid(x))


def _begin(prefix: str, tap: Tap) -> None:
    _thread.block = (prefix, tap)
    _thread.products = 0


def _finish(prefix: str, tap: Tap, out: Any) -> Any:
    _thread.block = None
    hidden = tap(f"{prefix}:output", out[0] if isinstance(out, tuple) else out)
    return (hidden, *out[1:]) if isinstance(out, tuple) else hidden


class _Products:
    """``torch.matmul`` while blocks are tapped. However many are at once, it is replaced once: every replacement counts the
    products of a block, and two of them would count each product twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._matmul: Any = None

    @contextlib.contextmanager
    def replaced(self) -> Iterator[None]:
        import torch

        with self._lock:
            if self._users == 0:
                self._matmul, torch.matmul = torch.matmul, self._product
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    torch.matmul = self._matmul

    def _product(self, a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
        """The products of the block that a thread runs go through its tap: softmax is the left operand of the second."""
        block = getattr(_thread, "block", None)
        number = getattr(_thread, "products", 0)
        if block is None or number >= len(_PRODUCTS):
            return self._matmul(a, b, *args, **kwargs)
        _thread.products = number + 1
        prefix, tap = block
        left, right, result = (f"{prefix}.attention:{each}" for each in _PRODUCTS[number])
        a = tap(left, a)
        return tap(result, self._matmul(a, tap(right, b), *args, **kwargs))


_products = _Products()
