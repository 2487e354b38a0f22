"""Operators of ONNX in PyTorch, on whatever device their tensors are.

``OPERATORS[op_type](a, inputs, count)`` computes a node: ``a`` are its attributes (``Attributes``), ``inputs`` its tensors, None
for those left out, ``count`` how many outputs it has; a tensor or a tuple comes back. What PyTorch computes in another way than
ONNX says, in whatever corner, raises ``Unsupported``: the caller has onnxruntime for such nodes. Semantics are those of
operator sets 13 and newer (https://onnx.ai/onnx/operators); captured graphs are no older.
"""

from typing import Any, Callable, Dict, Optional, Sequence

from dopt.execute.torch_node import Attributes, Unsupported, numbers
from dopt.execute.torch_quantizers import QUANTIZERS
from dopt.execute.torch_shapes import SHAPES
from dopt.execute.torch_windows import WINDOWS


def _unary(name: str) -> Callable[..., Any]:
    def compute(_a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
        import torch

        return getattr(torch, name)(inputs[0])

    return compute


def _binary(name: str) -> Callable[..., Any]:
    def compute(_a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
        import torch

        return getattr(torch, name)(inputs[0], inputs[1])

    return compute


def _folded(name: str) -> Callable[..., Any]:
    """Operators of any number of inputs."""

    def compute(_a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
        import torch

        total = inputs[0]
        for each in inputs[1:]:
            total = getattr(torch, name)(total, each)
        return total

    return compute


def _functional(name: str, **defaults: float) -> Callable[..., Any]:
    """Activation functions with numbers as attributes, in the order of the defaults."""

    def compute(a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
        from torch.nn import functional

        return getattr(functional, name)(inputs[0], *[a.get(key, value) for key, value in defaults.items()])

    return compute


def _div(_a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    import torch

    x, y = inputs
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _pow(_a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    import torch

    return torch.pow(inputs[0], inputs[1]).to(inputs[0].dtype)


def _clip(_a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    x, low, high = (*inputs, None, None)[:3]
    low, high = (None if each is None else numbers(each)[0] for each in (low, high))
    return x if low is None and high is None else x.clamp(low, high)


def _hard_sigmoid(a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    return (inputs[0] * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0, 1)


def _hard_swish(_a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    return inputs[0] * (inputs[0] / 6 + 0.5).clamp(0, 1)


def _prelu(_a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    import torch

    return torch.where(inputs[0] < 0, inputs[0] * inputs[1], inputs[0])


def _gelu(a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    from torch.nn import functional

    kind = a.get("approximate", "none")
    if kind == "none":
        return functional.gelu(inputs[0])
    try:
        return functional.gelu(inputs[0], approximate=kind)
    except TypeError as error:  # PyTorch 1.11
        raise Unsupported() from error


def _softmax(log: bool) -> Callable[..., Any]:
    def compute(a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
        import torch

        return (torch.log_softmax if log else torch.softmax)(inputs[0], a.get("axis", -1))

    return compute


def _matmul(_a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    if not inputs[0].is_floating_point():
        raise Unsupported()
    return inputs[0] @ inputs[1]


def _gemm(a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    x, y, c = (*inputs, None)[:3]
    if not x.is_floating_point():
        raise Unsupported()
    product = (x.t() if a.get("transA", 0) else x) @ (y.t() if a.get("transB", 0) else y)
    product = product * a.get("alpha", 1.0) if a.get("alpha", 1.0) != 1.0 else product
    return product if c is None else product + c * a.get("beta", 1.0)


def _einsum(a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    import torch

    return torch.einsum(a.get("equation").replace(" ", ""), *inputs)


def _batch_norm(a: Attributes, inputs: Sequence[Any], count: int) -> Any:
    from torch.nn import functional

    if count > 1:
        raise Unsupported()
    x, scale, bias, mean, variance = inputs
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


def _instance_norm(a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    from torch.nn import functional

    return functional.instance_norm(inputs[0], weight=inputs[1], bias=inputs[2], eps=a.get("epsilon", 1e-5))


def _layer_norm(a: Attributes, inputs: Sequence[Any], count: int) -> Any:
    from torch.nn import functional

    x, scale, bias = (*inputs, None)[:3]
    shape = x.shape[a.get("axis", -1) % x.dim() :]
    if count > 1 or tuple(scale.shape) != tuple(shape):
        raise Unsupported()
    return functional.layer_norm(x, shape, scale, bias, a.get("epsilon", 1e-5))


def _reduction(name: str) -> Callable[..., Any]:
    def compute(a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
        import torch

        x = inputs[0]
        axes = numbers(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else a.get("axes")
        if not axes and a.get("noop_with_empty_axes", 0):
            return x
        axes, keep = list(axes or range(x.dim())), bool(a.get("keepdims", 1))
        if not x.is_floating_point() and name == "mean":
            raise Unsupported()
        if name == "l2":
            return (x * x).sum(axes, keepdim=keep).sqrt()
        if name == "l1":
            return x.abs().sum(axes, keepdim=keep)
        if name == "squares":
            return (x * x).sum(axes, keepdim=keep)
        return getattr(torch, name)(x, axes, keepdim=keep).to(x.dtype) if axes else x

    return compute


def _mean(_a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    total = inputs[0]
    for each in inputs[1:]:
        total = total + each
    return total / len(inputs)


def _cast(a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    return inputs[0].to(dtype_of(a.get("to")))


def dtype_of(element: int) -> Any:
    """The torch type of an ONNX element type. Raises Unsupported."""
    import torch
    from onnx import TensorProto as P

    known = {
        P.FLOAT: torch.float32, P.DOUBLE: torch.float64, P.FLOAT16: torch.float16, P.BFLOAT16: torch.bfloat16,
        P.BOOL: torch.bool, P.INT8: torch.int8, P.UINT8: torch.uint8, P.INT16: torch.int16, P.INT32: torch.int32,
        P.INT64: torch.int64,
    }  # fmt: skip
    if element not in known:
        raise Unsupported()
    return known[element]


def _where(_a: Attributes, inputs: Sequence[Any], _count: int) -> Any:
    import torch

    return torch.where(inputs[0], inputs[1], inputs[2])


def _same(_a: Attributes, inputs: Sequence[Any], count: int) -> Any:
    if count > 1:
        raise Unsupported()
    return inputs[0]


def _operators() -> Dict[str, Callable[..., Any]]:
    same = {
        "Abs": "abs", "Neg": "neg", "Sqrt": "sqrt", "Exp": "exp", "Log": "log", "Reciprocal": "reciprocal", "Erf": "erf",
        "Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sin": "sin",
        "Cos": "cos", "Sign": "sign", "Not": "logical_not", "IsNaN": "isnan",
    }  # fmt: skip
    pairs = {
        "Add": "add", "Sub": "sub", "Mul": "mul", "Equal": "eq", "Greater": "gt", "GreaterOrEqual": "ge", "Less": "lt",
        "LessOrEqual": "le", "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor",
    }  # fmt: skip
    functions = {
        "LeakyRelu": _functional("leaky_relu", alpha=0.01),
        "Elu": _functional("elu", alpha=1.0),
        "Celu": _functional("celu", alpha=1.0),
        "Softplus": _functional("softplus"),
        "Softsign": _functional("softsign"),
        "Mish": _functional("mish"),
        "HardSigmoid": _hard_sigmoid,
        "HardSwish": _hard_swish,
        "PRelu": _prelu,
        "Gelu": _gelu,
        "Softmax": _softmax(log=False),
        "LogSoftmax": _softmax(log=True),
    }
    reductions = {
        "ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "amax", "ReduceMin": "amin", "ReduceL1": "l1", "ReduceL2": "l2",
        "ReduceSumSquare": "squares",
    }  # fmt: skip
    others = {
        "Div": _div, "Pow": _pow, "Clip": _clip, "MatMul": _matmul, "Gemm": _gemm, "Einsum": _einsum, "Mean": _mean,
        "BatchNormalization": _batch_norm, "InstanceNormalization": _instance_norm, "LayerNormalization": _layer_norm,
        "Cast": _cast, "Where": _where, "Identity": _same,
        "Dropout": _same, "Sum": _folded("add"), "Min": _folded("minimum"), "Max": _folded("maximum"),
    }  # fmt: skip
    return {
        **{op: _unary(name) for op, name in same.items()},
        **{op: _binary(name) for op, name in pairs.items()},
        **{op: _reduction(name) for op, name in reductions.items()},
        **functions,
        **others,
        **QUANTIZERS,
        **SHAPES,
        **WINDOWS,
    }


def operator(op_type: str, domain: str) -> Optional[Callable[..., Any]]:
    """What computes an operator; None for one that only onnxruntime knows."""
    global _table
    if _table is None:
        _table = _operators()
    return _table.get(op_type) if domain in ("", "ai.onnx") else None


_table: Optional[Dict[str, Callable[..., Any]]] = None
