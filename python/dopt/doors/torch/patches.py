"""What torch's exporter cannot express, spelled with operators that it can; in force while a network is exported only.

Each replacement computes the same numbers and is used instead of the original function by the network's own code.
"""

import contextlib
import functools
import inspect
import math
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

OPSET = 13
"""The newest operator set that PyTorch 1.11 writes with every operator in it."""


class Replacements:
    """Attributes of torch that are replaced within a ``with`` block and put back behind it, last one first."""

    def __init__(self) -> None:
        self._replaced: List[Tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Puts ``make(original)`` in the place of an attribute; one that ``owner`` does not have is passed over."""
        if hasattr(owner, name):
            self._replaced.append((owner, name, vars(owner).get(name)))
            setattr(owner, name, make(getattr(owner, name)))

    def __enter__(self) -> "Replacements":
        return self

    def __exit__(self, *_reason: Any) -> None:
        for owner, name, value in reversed(self._replaced):
            if value is None:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


def export_settings() -> Dict[str, Any]:
    """What every ``torch.onnx.export`` of the product is called with: the operator set, and the exporter that traces.
    Newer versions write with another one unless told, which asks for a package of its own."""
    import torch

    traced = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    return {"opset_version": OPSET, **traced}


@contextlib.contextmanager
def exportable(fixed_batch: bool) -> Iterator[None]:
    """Patches torch for the duration of an export. ``fixed_batch``: the first size is a number as well."""
    import torch
    import torch.nn.functional as functional

    from dopt.doors.torch.symbolics import symbolics

    with Replacements() as replacements:
        replace = replacements.replace
        for dimensions in (1, 2, 3):
            replace(functional, f"conv{dimensions}d", lambda original, n=dimensions: _same_padding(original, n))
        for owner in (functional, torch):
            replace(owner, "pixel_unshuffle", lambda _: pixel_unshuffle)
            replace(owner, "channel_shuffle", lambda _: channel_shuffle)
            replace(owner, "argsort", lambda _: argsort)
        replace(torch.Tensor, "argsort", lambda _: argsort)
        replace(functional, "fold", lambda _: fold)
        replace(functional, "interpolate", _sizes_computed)
        replace(torch, "tensor_split", lambda _: tensor_split)
        replace(torch.Tensor, "tensor_split", lambda _: tensor_split)
        for name, dim in (("hsplit", 1), ("vsplit", 0), ("dsplit", 2)):
            for owner in (torch, torch.Tensor):
                replace(owner, name, lambda _, dim=dim: _split_along(dim))
        replace(torch.Tensor, "unflatten", lambda _: unflatten)
        composed_attention(replacements)
        _symbolics_once(replacements)
        _integer_sizes(replacements, fixed_batch)
        with symbolics(OPSET):
            yield


def composed_attention(replacements: Replacements) -> None:
    """Attention as two products with a softmax between them, where torch 2 has one fused operator for it."""
    import torch
    import torch.nn.functional as functional

    replacements.replace(functional, "scaled_dot_product_attention", lambda _: attention)
    fast_path = getattr(torch.backends, "mha", None)
    if fast_path is not None:
        # In evaluation mode MultiheadAttention and TransformerEncoderLayer would otherwise be a single operator each.
        replacements.replace(fast_path, "get_fastpath_enabled", lambda _: lambda: False)
    elif hasattr(torch, "_native_multi_head_attention"):
        # PyTorch 1.12 and 1.13 have no switch for it. They ask this, by this name here alone, whether tensors are of a class of
        # somebody's, which keeps them from it.
        replacements.replace(torch.overrides, "has_torch_function", lambda _: lambda _: True)


def _symbolics_once(replacements: Replacements) -> None:
    """torch 1.11 goes through all of its operators' symbolic functions again for each node, and hands every value
    converted so far to Python again as well: two thirds of an export's time. Most values are equal constants."""
    import torch

    try:
        from torch.onnx import symbolic_registry
    except ImportError:
        return  # Newer ones have none.
    replacements.replace(symbolic_registry, "register_version", functools.lru_cache(maxsize=None))
    # The pass behind the elimination of dead code; later ones make operators that pooling does not know.
    replacements.replace(torch._C, "_jit_pass_canonicalize_graph_fuser_ops", _constants_pooled)


def _constants_pooled(original: Any) -> Any:
    def ours(graph: Any) -> None:
        import torch

        torch._C._jit_pass_constant_pooling(graph)
        original(graph)

    return ours


class Sizes(tuple):
    """A torch.Size whose first element may be a traced tensor."""

    def numel(self) -> Any:
        product = 1
        for size in self:
            product = product * size
        return product


def _integer_sizes(replacements: Replacements, fixed_batch: bool) -> None:
    """``size()`` and ``shape`` give plain ints while tracing, for every dimension but the batch.

    Tracing makes sizes tensors, which functions that want ints refuse (``F.avg_pool2d(x, x.size()[3])``), and which
    leave long chains of shape operators in the graph.
    """
    import torch

    size = torch.Tensor.size

    def integers(tensor: Any) -> Sizes:
        return Sizes(
            each if index == 0 and not fixed_batch else int(each) for index, each in enumerate(size(tensor))
        )

    def ours(tensor: Any, dim: Any = None) -> Any:
        if not torch.jit.is_tracing():
            return size(tensor) if dim is None else size(tensor, dim)
        sizes = integers(tensor)
        return sizes if dim is None else sizes[dim]

    replacements.replace(torch.Tensor, "size", lambda _: ours)
    shape = torch.Tensor.shape

    def shape_of(tensor: Any) -> Any:
        return integers(tensor) if torch.jit.is_tracing() else shape.__get__(tensor)

    replacements.replace(torch.Tensor, "shape", lambda _: property(shape_of))


def _same_padding(convolution: Any, dimensions: int) -> Any:
    """A convolution that turns padding='same' and 'valid' into numbers (Conv of opset 13 wants its pads)."""

    def ours(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1):
        import torch.nn.functional as functional

        if not isinstance(padding, str):
            return convolution(input, weight, bias, stride, padding, dilation, groups)
        pads = [(0, 0)] * dimensions
        if padding == "same":
            spread = dilation if isinstance(dilation, (tuple, list)) else (dilation,) * dimensions
            totals = [d * (int(k) - 1) for d, k in zip(spread, weight.shape[2:])]
            pads = [(total // 2, total - total // 2) for total in totals]
        if all(before == after for before, after in pads):
            return convolution(input, weight, bias, stride, tuple(before for before, _ in pads), dilation, groups)
        padded = functional.pad(input, [each for pair in reversed(pads) for each in pair])
        return convolution(padded, weight, bias, stride, 0, dilation, groups)

    return ours


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """[N, C, H*r, W*r] to [N, C*r*r, H, W], as torch.nn.functional.pixel_unshuffle."""
    r = downscale_factor
    _, channels, height, width = input.shape
    split = input.reshape(-1, channels, height // r, r, width // r, r)
    return split.permute(0, 1, 3, 5, 2, 4).reshape(-1, channels * r * r, height // r, width // r)


def channel_shuffle(input: Any, groups: int) -> Any:
    """[N, C, ...] with channels dealt out over groups, as torch.nn.functional.channel_shuffle."""
    _, channels, *rest = input.shape
    dealt = input.reshape(-1, groups, channels // groups, *rest)
    return dealt.transpose(1, 2).reshape(-1, channels, *rest)


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Optional[float] = None,
    enable_gqa: bool = False,
) -> Any:
    """torch.nn.functional.scaled_dot_product_attention without dropout: softmax(q·kᵀ·scale + mask)·v."""
    import torch

    if enable_gqa:
        groups = int(query.shape[-3]) // int(key.shape[-3])
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    factor = scale if scale is not None else int(query.shape[-1]) ** -0.5
    scores = torch.matmul(query, key.transpose(-2, -1)) * factor
    if is_causal:
        attn_mask = torch.ones(int(query.shape[-2]), int(key.shape[-2]), dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(attn_mask.logical_not(), float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.matmul(scores.softmax(-1), value)


def argsort(input: Any, dim: int = -1, descending: bool = False) -> Any:
    """Indices of torch.sort."""
    import torch

    return torch.sort(input, dim=dim, descending=descending)[1]


def _sizes_computed(original: Any) -> Any:
    """F.interpolate, whose own way to a size from a factor wants sizes that are tensors while tracing."""

    def ours(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", *rest: Any, **more: Any) -> Any:
        recompute = more.get("recompute_scale_factor") or (len(rest) > 1 and rest[1])
        if scale_factor is None or not (recompute or mode == "area"):
            return original(input, size, scale_factor, mode, *rest, **more)
        spatial = [int(each) for each in input.shape[2:]]
        factors = scale_factor if isinstance(scale_factor, (tuple, list)) else [scale_factor] * len(spatial)
        sizes = [math.floor(each * factor) for each, factor in zip(spatial, factors)]
        more.pop("recompute_scale_factor", None)
        return original(input, sizes, None, mode, *rest[:1], **more)

    return ours


def fold(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """torch.nn.functional.fold of [N, C*kernel, L]: a transposed convolution whose weights are one at a patch's own place, else zero."""
    import torch
    import torch.nn.functional as functional

    sizes, kernel, spread, pads, steps = (
        tuple(each) if isinstance(each, (tuple, list)) else (each, each)
        for each in (output_size, kernel_size, dilation, padding, stride)
    )
    taps = kernel[0] * kernel[1]
    reach = [d * (k - 1) + 1 for d, k in zip(spread, kernel)]
    counts = [(size + 2 * p - r) // s + 1 for size, p, r, s in zip(sizes, pads, reach, steps)]
    missing = [size + 2 * p - r - (n - 1) * s for size, p, r, n, s in zip(sizes, pads, reach, counts, steps)]
    channels = int(input.shape[1]) // taps
    patches = input.reshape(-1, channels * taps, *counts)
    weight = torch.eye(taps).reshape(taps, 1, *kernel).repeat(channels, 1, 1, 1)
    return functional.conv_transpose2d(patches, weight, None, steps, pads, missing, channels, spread)


def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> Tuple[Any, ...]:
    """torch.tensor_split: into so many parts, the first ones one longer, or at indices."""
    size = int(input.shape[dim])
    if isinstance(indices_or_sections, int):
        least, longer = divmod(size, indices_or_sections)
        sizes = [least + (part < longer) for part in range(indices_or_sections)]
        ends = [sum(sizes[: part + 1]) for part in range(len(sizes))]
    else:
        ends = [min(max(int(each) + size * (int(each) < 0), 0), size) for each in indices_or_sections] + [size]
    starts = [0, *ends[:-1]]
    return tuple(input.narrow(dim, start, max(end - start, 0)) for start, end in zip(starts, ends))


def _split_along(dim: int) -> Callable[[Any, Any], Tuple[Any, ...]]:
    """torch.hsplit, vsplit and dsplit; of one dimension hsplit splits the only one."""
    return lambda input, indices_or_sections: tensor_split(input, indices_or_sections, min(dim, input.dim() - 1))


def unflatten(input: Any, dim: int, sizes: Any) -> Any:
    """Tensor.unflatten, which asks for names of dimensions, of which tracing knows nothing."""
    dim = dim if dim >= 0 else dim + input.dim()
    return input.reshape(*input.shape[:dim], *sizes, *input.shape[dim + 1 :])
