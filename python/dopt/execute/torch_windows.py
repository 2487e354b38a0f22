"""Operators of ONNX that go over a picture with a window, and resizing, in PyTorch; see ``torch_ops``."""

from typing import Any, List, Sequence, Tuple

from dopt.execute.torch_node import Unsupported


def _sizes(a: Any, rank: int) -> Tuple[List[int], List[int]]:
    return list(a.get("strides", [1] * rank)), list(a.get("dilations", [1] * rank))


def _pads(a: Any, x: Any, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> List[int]:
    """Begins, then ends, of the padding of each axis."""
    rank, auto = len(kernel), a.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return list(a.get("pads", [0] * (2 * rank)))
    if auto == "VALID":
        return [0] * (2 * rank)
    if any(each != 1 for each in dilations):  # onnxruntime leaves them out of its sizes, here and there
        raise Unsupported()
    begins, ends = [], []
    for extent, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations):
        total = max(0, (-(-extent // stride) - 1) * stride + (k - 1) * dilation + 1 - extent)
        begin = total // 2 if auto == "SAME_UPPER" else total - total // 2
        begins.append(begin)
        ends.append(total - begin)
    return begins + ends


def _padded(x: Any, pads: Sequence[int], value: float) -> Any:
    from torch.nn import functional

    rank = len(pads) // 2
    if not any(pads):
        return x
    return functional.pad(x, [pads[side * rank + axis] for axis in reversed(range(rank)) for side in (0, 1)], value=value)


def _conv(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    from torch.nn import functional

    x, weight, bias = (*inputs, None)[:3]
    rank = weight.dim() - 2
    strides, dilations = _sizes(a, rank)
    pads = _pads(a, x, weight.shape[2:], strides, dilations)
    even = pads[:rank] == pads[rank:]
    x = x if even else _padded(x, pads, 0.0)
    function = getattr(functional, f"conv{rank}d")
    return function(x, weight, bias, strides, pads[:rank] if even else 0, dilations, a.get("group", 1))


def _conv_transpose(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    from torch.nn import functional

    x, weight, bias = (*inputs, None)[:3]
    rank = weight.dim() - 2
    strides, dilations = _sizes(a, rank)
    extra = list(a.get("output_padding", [0] * rank))
    late = any(more >= max(stride, dilation) for more, stride, dilation in zip(extra, strides, dilations))
    if late or a.get("output_shape") is not None or a.get("auto_pad", "NOTSET") not in ("NOTSET", ""):
        raise Unsupported()
    pads = list(a.get("pads", [0] * (2 * rank)))
    function = getattr(functional, f"conv_transpose{rank}d")
    whole = function(x, weight, bias, strides, 0, extra, a.get("group", 1), dilations)
    for axis in range(rank):
        whole = whole.narrow(axis + 2, pads[axis], whole.shape[axis + 2] - pads[axis] - pads[rank + axis])
    return whole


def _max_pool(a: Any, inputs: Sequence[Any], count: int) -> Any:
    from torch.nn import functional

    x, kernel = inputs[0], list(a.get("kernel_shape"))
    if count > 1 or a.get("ceil_mode", 0) or not x.is_floating_point():
        raise Unsupported()
    strides, dilations = _sizes(a, len(kernel))
    x = _padded(x, _pads(a, x, kernel, strides, dilations), float("-inf"))
    return getattr(functional, f"max_pool{len(kernel)}d")(x, kernel, strides, 0, dilations)


def _average_pool(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    import torch
    from torch.nn import functional

    x, kernel = inputs[0], list(a.get("kernel_shape"))
    strides, dilations = _sizes(a, len(kernel))
    if a.get("ceil_mode", 0) or any(each != 1 for each in dilations):
        raise Unsupported()
    pads = _pads(a, x, kernel, strides, dilations)
    pool = getattr(functional, f"avg_pool{len(kernel)}d")
    pooled = pool(_padded(x, pads, 0.0), kernel, strides)
    if a.get("count_include_pad", 0) or not any(pads):
        return pooled
    return pooled / pool(_padded(torch.ones_like(x[:1, :1]), pads, 0.0), kernel, strides)


def _global(name: str) -> Any:
    def compute(_a: Any, inputs: Sequence[Any], _count: int) -> Any:
        import torch

        return getattr(torch, name)(inputs[0], list(range(2, inputs[0].dim())), keepdim=True)

    return compute


def _resize(a: Any, inputs: Sequence[Any], _count: int) -> Any:
    """Whole multiples of a picture's sides, as networks upsample."""
    from torch.nn import functional

    x, _, scales, sizes = (*inputs, None, None, None)[:4]
    if x.dim() != 4 or not x.is_floating_point() or a.get("axes") is not None or a.get("antialias", 0):
        raise Unsupported()
    if sizes is not None and sizes.numel():
        wanted = [int(each) for each in sizes.reshape(-1).tolist()]
        factors = [size / extent for size, extent in zip(wanted, x.shape)]
    else:
        factors = scales.reshape(-1).tolist()
    if factors[:2] != [1, 1] or any(each != int(each) or each < 1 for each in factors):
        raise Unsupported()
    size = [int(extent * factor) for extent, factor in zip(x.shape[2:], factors[2:])]
    mode, place = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    if mode == "nearest" and place == "asymmetric" and a.get("nearest_mode", "round_prefer_floor") == "floor":
        return functional.interpolate(x, size=size, mode="nearest")
    if mode == "linear" and place in ("half_pixel", "pytorch_half_pixel", "align_corners") and min(size) > 1:
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=place == "align_corners")
    raise Unsupported()


WINDOWS = {
    "Conv": _conv, "ConvTranspose": _conv_transpose, "MaxPool": _max_pool, "AveragePool": _average_pool,
    "GlobalAveragePool": _global("mean"), "GlobalMaxPool": _global("amax"), "Resize": _resize,
}  # fmt: skip
