"""How TensorFlow lays out the weights of a layer, and how ONNX does."""

from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

#: Index of the weight among the inputs of layers that have it in one place; products take it on either side.
_WEIGHT_INDEX = {
    "Conv2D": 1,
    "DepthwiseConv2dNative": 1,
    "Conv2DBackpropInput": 1,
    "Conv3D": 1,
    "Conv3DBackpropInputV2": 1,
}
MATMULS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
PRODUCTS = (*MATMULS, "Einsum")
#: ONNX operators and the layers of TensorFlow that they can stand for.
COUNTERPARTS = {
    "Conv": ("Conv2D", "DepthwiseConv2dNative", "Conv3D"),
    "ConvTranspose": ("Conv2DBackpropInput", "Conv3DBackpropInputV2"),
    "Gemm": PRODUCTS,
    "MatMul": PRODUCTS,
}

#: Largest difference between a weight and its ONNX form where the converter multiplied a scale into it.
_TOLERANCE = 1e-4


def weight_indices(op: str) -> Tuple[int, ...]:
    """Indices of the inputs that can be the weight of a layer; none for operators that are no layer."""
    if op in PRODUCTS:
        return (1, 0)
    return (_WEIGHT_INDEX[op],) if op in _WEIGHT_INDEX else ()


class Layout(NamedTuple):
    """A way from the weight of a TensorFlow layer to the initializer: transpose by ``order``, then reshape.

    ``source`` and ``target`` are the shapes before and after.
    """

    order: Tuple[int, ...]
    source: Tuple[int, ...]
    target: Tuple[int, ...]

    def to_onnx(self, array: Any) -> Any:
        """An array of shape ``source`` as the initializer stores it."""
        return array.transpose(self.order).reshape(self.target)

    def to_tensorflow(self, array: Any) -> Any:
        """An array of shape ``target`` as the TensorFlow layer reads it."""
        import numpy as np

        moved = array.reshape([self.source[each] for each in self.order])
        return np.ascontiguousarray(moved.transpose(np.argsort(self.order)))


def find_layout(node: Any, index: int, weight: Any, initializer: Any, channel_axis: Optional[int]) -> Optional[Layout]:
    """The layout in which input ``index`` of a TensorFlow layer, its weight, equals the initializer; None when it does not.

    Equal number by number; or up to a factor for each output channel (``channel_axis`` of the initializer), which is how a
    converter folds a scale into the weight.
    """
    import numpy as np

    layouts = [Layout(order, weight.shape, initializer.shape) for order in _orders(node, index, weight.ndim)]
    layouts = [layout for layout in layouts if _fits(node, index, layout)]
    for layout in layouts:
        if np.array_equal(layout.to_onnx(weight), initializer):
            return layout
    for layout in layouts:
        if channel_axis is not None and _proportional(layout.to_onnx(weight), initializer, channel_axis):
            return layout
    return None


def output_sizes(node: Any, index: int, layout: Layout) -> List[int]:
    """Sizes of the axes that the output channels have in the layer's result: one, or several behind an Einsum."""
    if node.op != "Einsum":
        return []
    columns = einsum_columns(node, index)
    return [layout.source[each] for each in layout.order[len(layout.order) - len(columns) :]]


def einsum_columns(node: Any, index: int) -> str:
    """The axes of an Einsum's weight that its result ends with, in that order; "" where it is no such product."""
    operands, _, result = node.attr["equation"].s.decode().replace(" ", "").partition("->")
    parts = operands.split(",")
    if len(parts) != 2 or "." in operands or index > 1:
        return ""
    weight, data = parts[index], parts[1 - index]
    columns = "".join(each for each in result if each in weight)
    # What is summed must be all that the two have in common.
    summed = set(weight) - set(columns)
    return columns if result.endswith(columns) and summed <= set(data) and not set(columns) & set(data) else ""


def _orders(node: Any, index: int, rank: int) -> Iterator[Tuple[int, ...]]:
    if node.op in MATMULS:
        yield tuple(range(rank))
        yield (*range(rank - 2), rank - 1, rank - 2)
    elif node.op == "Einsum":
        columns = einsum_columns(node, index)
        operands = node.attr["equation"].s.decode().replace(" ", "").partition("->")[0].split(",")
        if columns and len(operands[index]) == rank:
            weight, data = operands[index], operands[1 - index]
            summed = "".join(each for each in data if each in weight)
            yield tuple(weight.index(each) for each in summed + columns)
    elif node.op == "DepthwiseConv2dNative":
        yield (2, 3, 0, 1)
    else:
        # Spatial axes first, then inputs and outputs (transposed: outputs and inputs); ONNX has those two in front.
        yield (rank - 1, rank - 2, *range(rank - 2))


def _fits(node: Any, index: int, layout: Layout) -> bool:
    moved = [layout.source[each] for each in layout.order]
    if node.op == "DepthwiseConv2dNative":
        moved = [moved[0] * moved[1], *moved[2:]]
    if node.op == "Einsum":
        columns = output_sizes(node, index, layout)
        return list(layout.target) == [_size(moved) // max(1, _size(columns)), _size(columns)]
    return [size for size in moved if size != 1] == [size for size in layout.target if size != 1]


def _size(sizes: Sequence[int]) -> int:
    count = 1
    for size in sizes:
        count *= size
    return count


def _proportional(weight: Any, initializer: Any, axis: int) -> bool:
    import numpy as np

    rows = [np.moveaxis(each, axis, 0).reshape(each.shape[axis], -1).astype(np.float64) for each in (weight, initializer)]
    power = np.sum(rows[0] ** 2, axis=1)
    factor = np.divide(np.sum(rows[0] * rows[1], axis=1), power, where=power > 0, out=np.zeros_like(power))
    if not np.all(factor[power > 0]):
        return False
    error = np.max(np.abs(rows[0] * factor[:, None] - rows[1]), axis=1)
    return bool(np.all(error <= _TOLERANCE * np.max(np.abs(rows[1]), axis=1)))
