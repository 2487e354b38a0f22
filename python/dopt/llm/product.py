"""Products of float32 matrices on the processor, by oneDNN where PyTorch has it.

What PyTorch multiplies such matrices with otherwise is MKL, which leaves half of a processor idle that is not of its own maker: of
512 by 576 by 1,536 numbers a core of a Zen 5 does 54 thousand million multiplications a second with it, 121 with oneDNN.
"""

from functools import lru_cache
from typing import Any, Callable, Optional

#: Rows from which on a weight is worth a copy in the order that the fast product reads.
COPIED_ROWS = 64


def multiply(x: Any, weight: Any, bias: Optional[Any] = None, plain: Optional[Callable[..., Any]] = None) -> Any:
    """x @ weight.T + bias, as ``torch.nn.functional.linear`` gives it: x [..., inputs], weight [outputs, inputs], bias [outputs], of any
    device and type. ``plain``: called in the place of that function."""
    import torch

    if not _is_fit(x, weight):
        return (plain or torch.nn.functional.linear)(x, weight, bias)
    return _kernel()(x.contiguous(), weight.contiguous(), bias, "none", [], "")  # type: ignore[misc]


def _is_fit(x: Any, weight: Any) -> bool:
    """Whether oneDNN takes these: it has a slow way only for matrices in another order, and gives no gradients."""
    import torch

    if x.dtype != torch.float32 or weight.dtype != torch.float32 or x.device.type != "cpu" or not x.numel() or not weight.numel():
        return False
    graded = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    ordered = weight.is_contiguous() or x.numel() >= COPIED_ROWS * x.shape[-1]
    return ordered and not graded and _kernel() is not None


@lru_cache(maxsize=None)
def _kernel() -> Optional[Callable[..., Any]]:
    """The product that PyTorch's compiler takes from oneDNN; None before version 2 and where PyTorch is built without."""
    import platform

    import torch

    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return None
    try:
        return torch.ops.mkldnn._linear_pointwise
    except (AttributeError, RuntimeError):
        return None
