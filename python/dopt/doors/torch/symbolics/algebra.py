"""Arithmetic on values of an ONNX graph under construction, so that a symbolic function reads like its formula."""

from typing import Any, List, Optional, Sequence, Union

import torch

#: torch's names of scalar types in the order of promotion, with their numbers in onnx.TensorProto.
_ONNX_TYPES = {"Bool": 9, "Byte": 2, "Char": 3, "Short": 5, "Int": 6, "Long": 7, "Half": 10, "Float": 1, "Double": 11}
_PROMOTION = list(_ONNX_TYPES)
_TORCH_TYPES = {
    "Bool": torch.bool,
    "Byte": torch.uint8,
    "Char": torch.int8,
    "Short": torch.int16,
    "Int": torch.int32,
    "Long": torch.int64,
    "Half": torch.float16,
    "Float": torch.float32,
    "Double": torch.float64,
}

Number = Union[bool, int, float]


class Tensor:
    """A value in a graph; every operation on it adds a node.

    ``kind`` is torch's name of its scalar type (Float where torch does not know it). ``traced`` is the type of the value that
    the network computed while it was traced: what is converted already loses its sizes at the first Reshape to a computed shape.
    """

    def __init__(self, graph: Any, value: Any, kind: Optional[str] = None, traced: Any = None) -> None:
        self.graph = graph
        self.value = value
        # A network that was scripted, not traced, has types without sizes.
        self.type = traced if hasattr(traced, "varyingSizes") and traced.varyingSizes() is not None else value.type()
        self.kind = kind or value.type().scalarType() or self.type.scalarType() or "Float"

    @property
    def sizes(self) -> Optional[List[Optional[int]]]:
        """The sizes while tracing, None for one that is open, the batch among them: what is written must hold for any batch.
        None for a value of unknown rank."""
        return self.type.varyingSizes() if hasattr(self.type, "varyingSizes") else None

    @property
    def rank(self) -> int:
        """The number of dimensions. Raises RuntimeError where torch does not know it."""
        sizes = self.sizes
        if sizes is None:
            raise unsupported("on a tensor of unknown rank")
        return len(sizes)

    @property
    def is_float(self) -> bool:
        return self.kind in ("Half", "Float", "Double")

    def axis(self, dim: int) -> int:
        """A dimension counted from the front."""
        return dim + self.rank if dim < 0 else dim

    def size(self, dim: int) -> int:
        """A dimension's size as a number. Raises RuntimeError where it is open."""
        sizes = self.sizes
        size = sizes[self.axis(dim)] if sizes is not None else None
        if size is None:
            raise unsupported(f"where the size of dimension {dim} is open")
        return size

    def op(self, name: str, *others: "Tensor", kind: Optional[str] = None, **attributes: Any) -> "Tensor":
        """ONNX operator ``name`` on this and ``others``; attributes carry torch's suffixes (``axes_i``). ``kind``: of the result."""
        value = self.graph.op(name, self.value, *(each.value for each in others), **attributes)
        return Tensor(self.graph, value, kind or self.kind)

    def constant(self, numbers: Any, kind: Optional[str] = None) -> "Tensor":
        """Numbers as a constant of ``kind``, by default of this tensor's."""
        kind = kind or self.kind
        return Tensor(self.graph, self.graph.op("Constant", value_t=self.numbers(numbers, kind)), kind)

    def numbers(self, numbers: Any, kind: Optional[str] = None) -> torch.Tensor:
        """Numbers in torch's type for ``kind``, by default of this tensor's."""
        return torch.as_tensor(numbers).to(_TORCH_TYPES[kind or self.kind])

    def integers(self, numbers: Sequence[int]) -> "Tensor":
        """Sizes, axes or indices as ONNX takes them."""
        return self.constant(torch.tensor(list(numbers), dtype=torch.int64), "Long")

    def to(self, kind: str) -> "Tensor":
        return self if self.kind == kind else self.op("Cast", to_i=_ONNX_TYPES[kind], kind=kind)

    def as_float(self) -> "Tensor":
        """Integers and booleans as Float, as torch's functions of real numbers take them."""
        return self if self.is_float else self.to("Float")

    def _with(self, other: Union["Tensor", Number]) -> "tuple[Tensor, Tensor]":
        """Both operands in the type that torch promotes them to."""
        if not isinstance(other, Tensor):
            kind = "Float" if isinstance(other, float) and not self.is_float else self.kind
            return self.to(kind), self.constant(other, kind)
        kind = promoted(self, other)
        return self.to(kind), other.to(kind)

    def _binary(self, name: str, other: Union["Tensor", Number], kind: Optional[str] = None) -> "Tensor":
        left, right = self._with(other)
        return left.op(name, right, kind=kind)

    def __add__(self, other: Union["Tensor", Number]) -> "Tensor":
        return self._binary("Add", other)

    def __sub__(self, other: Union["Tensor", Number]) -> "Tensor":
        return self._binary("Sub", other)

    def __mul__(self, other: Union["Tensor", Number]) -> "Tensor":
        return self._binary("Mul", other)

    def __truediv__(self, other: Union["Tensor", Number]) -> "Tensor":
        return self.as_float()._binary("Div", other.as_float() if isinstance(other, Tensor) else other)

    def __pow__(self, other: Union["Tensor", Number]) -> "Tensor":
        return self._binary("Pow", other)

    def __radd__(self, other: Number) -> "Tensor":
        return self + other

    def __rmul__(self, other: Number) -> "Tensor":
        return self * other

    def __rsub__(self, other: Number) -> "Tensor":
        return -self + other

    def __neg__(self) -> "Tensor":
        return self.op("Neg")

    def __lt__(self, other: Union["Tensor", Number]) -> "Tensor":
        return self._binary("Less", other, "Bool")

    def __gt__(self, other: Union["Tensor", Number]) -> "Tensor":
        return self._binary("Greater", other, "Bool")

    def __le__(self, other: Union["Tensor", Number]) -> "Tensor":
        return self._binary("LessOrEqual", other, "Bool")

    def __ge__(self, other: Union["Tensor", Number]) -> "Tensor":
        return self._binary("GreaterOrEqual", other, "Bool")

    def equals(self, other: Union["Tensor", Number]) -> "Tensor":
        return self._binary("Equal", other, "Bool")

    def __and__(self, other: "Tensor") -> "Tensor":
        return self.to("Bool").op("And", other.to("Bool"))

    def __invert__(self) -> "Tensor":
        return self.to("Bool").op("Not")

    def maximum(self, other: Union["Tensor", Number]) -> "Tensor":
        return self._binary("Max", other)

    def minimum(self, other: Union["Tensor", Number]) -> "Tensor":
        return self._binary("Min", other)

    def where(self, yes: Union["Tensor", Number], no: Union["Tensor", Number]) -> "Tensor":
        """``yes`` where this holds, else ``no``; one of them is a tensor."""
        if isinstance(yes, Tensor):
            yes, no = yes._with(no)
        else:
            no, yes = no._with(yes)  # type: ignore[union-attr]
        return Tensor(self.graph, self.graph.op("Where", self.to("Bool").value, yes.value, no.value), yes.kind)

    def reduce(self, name: str, dims: Optional[Sequence[int]], keepdim: bool = False) -> "Tensor":
        """ReduceMax, ReduceMin, ReduceL2 … over ``dims``, all where there are none."""
        over = {"axes_i": sorted(self.axis(each) for each in dims)} if dims else {}
        return self.op(name, keepdims_i=int(keepdim), **over)

    def sum(self, dims: Sequence[int], keepdim: bool = False) -> "Tensor":
        return self.op("ReduceSum", self.integers([self.axis(each) for each in dims]), keepdims_i=int(keepdim))

    def reshape(self, sizes: Sequence[int]) -> "Tensor":
        """Sizes as ONNX reads them: 0 keeps one, -1 is what is left."""
        return self.op("Reshape", self.integers(sizes))

    def permute(self, order: Sequence[int]) -> "Tensor":
        return self.op("Transpose", perm_i=list(order))

    def unsqueeze(self, *axes: int) -> "Tensor":
        return self.op("Unsqueeze", self.integers(axes))

    def squeeze(self, *axes: int) -> "Tensor":
        return self.op("Squeeze", self.integers(axes))

    def expand(self, shape: "Tensor") -> "Tensor":
        return self.op("Expand", shape)

    def shape(self) -> "Tensor":
        return self.op("Shape", kind="Long")

    def slice(self, axis: int, start: int, end: int, step: int = 1) -> "Tensor":
        return self.op("Slice", *(self.integers([each]) for each in (start, end, axis, step)))

    def gather(self, indices: Union["Tensor", Sequence[int]], axis: int) -> "Tensor":
        return self.op("Gather", indices if isinstance(indices, Tensor) else self.integers(indices), axis_i=axis)

    def flattened(self) -> "Tensor":
        return self.reshape([-1])

    def matmul(self, other: "Tensor") -> "Tensor":
        return self._binary("MatMul", other)

    def times(self, matrix: torch.Tensor, axis: int) -> "Tensor":
        """The product of a dimension with a matrix [size, new size]."""
        if axis == self.rank - 2:
            return self.constant(matrix.t().contiguous()).matmul(self)
        if axis == self.rank - 1:
            return self.matmul(self.constant(matrix))
        order = [*(each for each in range(self.rank) if each != axis), axis]
        product = self.permute(order).matmul(self.constant(matrix))
        return product.permute([order.index(each) for each in range(self.rank)])

    def isnan(self) -> "Tensor":
        return self.op("IsNaN", kind="Bool")


def concat(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Tensors one behind the other along an axis."""
    if len(parts) == 1:
        return parts[0]
    return parts[0].op("Concat", *parts[1:], axis_i=axis)


def promoted(left: Tensor, right: Tensor) -> str:
    """The scalar type of a result of two: a number without dimensions counts by its category alone (torch.result_type)."""
    for one, other in ((left, right), (right, left)):
        if one.sizes == [] and other.sizes != []:
            return "Float" if one.is_float and not other.is_float else other.kind
    return max(left.kind, right.kind, key=_PROMOTION.index)


def unsupported(why: str) -> RuntimeError:
    """The error of a symbolic function that cannot express a case; the registry puts the operator's name in front."""
    return RuntimeError(why)
