"""Quantizers of ONNX in PyTorch: rounded half to even, saturated; see ``torch_ops``."""

from typing import Any, Sequence

from dopt.execute.torch_node import Unsupported


def _quantize(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    import torch

    x, scale, zero = (*inputs, None)[:3]
    dtype = torch.uint8 if zero is None else zero.dtype
    if a.get("block_size", 0) or dtype not in (torch.uint8, torch.int8, torch.int16) or a.get("output_dtype", 0):
        raise Unsupported()
    limits = torch.iinfo(dtype)
    steps = torch.round(x / _along(scale, x, a))
    steps = steps if zero is None else steps + _along(zero, x, a).to(x.dtype)
    return steps.clamp(limits.min, limits.max).to(dtype)


def _dequantize(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    import torch

    q, scale, zero = (*inputs, None)[:3]
    if a.get("block_size", 0) or q.dtype not in (torch.uint8, torch.int8, torch.int16, torch.int32):
        raise Unsupported()
    if zero is not None:
        q = q.to(torch.int32) - _along(zero, q, a).to(torch.int32)
    return q.to(scale.dtype) * _along(scale, q, a)


def _along(values: Any, x: Any, a: Any) -> Any:
    """One value, or one for each index of an axis, shaped to go with ``x``."""
    if values.numel() == 1:
        return values.reshape(())
    shape = [1] * x.dim()
    shape[a.get("axis", 1) % x.dim()] = -1
    return values.reshape(shape)


QUANTIZERS = {"QuantizeLinear": _quantize, "DequantizeLinear": _dequantize}
