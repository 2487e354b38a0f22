"""Operators that tf2onnx lacks or gets wrong, spelled with operators of TensorFlow that it knows."""

from typing import Any, Callable, Dict, List, Optional

import numpy as np

#: Functions of an operation and stand-ins for its inputs, which give the stand-in for its one output, or None where they cannot.
Spelling = Callable[..., Optional[Any]]


def spell(graph_def: Any) -> Any:
    """A GraphDef in which each operation of SPELLINGS has others in its place, the last of which has its name."""
    import tensorflow as tf

    if not any(node.op in SPELLINGS for node in graph_def.node):
        return graph_def
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    spelled = type(graph_def)()
    spelled.CopyFrom(graph_def)
    del spelled.node[:]
    for node in graph_def.node:
        spelling = SPELLINGS.get(node.op)
        others = spelling and _spelled(node, graph.get_operation_by_name(node.name), spelling)
        spelled.node.extend(others or [node])
    return spelled


def _spelled(node: Any, operation: Any, spelling: Spelling) -> Optional[List[Any]]:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        stand_ins = [
            tf.compat.v1.placeholder(each.dtype, each.shape, f"input{index}") for index, each in enumerate(operation.inputs)
        ]
        found = spelling(operation, *stand_ins)
        if found is None:
            return None
        tf.identity(found, "result")
    names = {each.op.name: source for each, source in zip(stand_ins, node.input)}
    others = [each for each in graph.as_graph_def().node if each.name not in names]
    for each in others:
        names[each.name] = node.name if each.name == "result" else f"{node.name}/spelled/{each.name}"
    for each in others:
        each.name = names[each.name]
        each.input[:] = [_renamed(source, names) for source in each.input]
    return others


def _renamed(source: str, names: Dict[str, str]) -> str:
    """A reference to a tensor of a renamed node: NAME, NAME:1 or ^NAME."""
    control, plain = source.startswith("^"), source.lstrip("^")
    name, _, index = plain.partition(":")
    new = names[name] + (f":{index}" if index else "")
    return f"^{new}" if control else new


def _log1p(_: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.math.log(x + 1)


def _expm1(_: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.exp(x) - 1


def _erfc(_: Any, x: Any) -> Any:
    import tensorflow as tf

    return 1 - tf.math.erf(x)


def _xlogy(_: Any, x: Any, y: Any) -> Any:
    import tensorflow as tf

    return tf.where(tf.equal(x, 0), tf.zeros((), x.dtype), x * tf.math.log(y))


def _xdivy(_: Any, x: Any, y: Any) -> Any:
    import tensorflow as tf

    return tf.where(tf.equal(x, 0), tf.zeros((), x.dtype), x / y)


def _multiply_no_nan(_: Any, x: Any, y: Any) -> Any:
    import tensorflow as tf

    return tf.where(tf.equal(y, 0), tf.zeros((), x.dtype), x * y)


def _l2_loss(_: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_sum(x * x) / 2


def _euclidean_norm(operation: Any, x: Any, _axes: Any) -> Optional[Any]:
    import tensorflow as tf

    axes = tf.get_static_value(operation.inputs[1])
    return None if axes is None else tf.sqrt(tf.reduce_sum(x * x, axes, operation.get_attr("keep_dims")))


def _cross(_: Any, a: Any, b: Any) -> Any:
    import tensorflow as tf

    first, second = [1, 2, 0], [2, 0, 1]
    turned = [tf.gather(each, order, axis=-1) for each in (a, b) for order in (first, second)]
    return turned[0] * turned[3] - turned[1] * turned[2]


def _bucketize(operation: Any, x: Any) -> Any:
    """How many boundaries are not above each number."""
    import tensorflow as tf

    boundaries = tf.constant(operation.get_attr("boundaries"), tf.float32)
    return tf.reduce_sum(tf.cast(tf.cast(x, tf.float32)[..., None] >= boundaries, tf.int32), -1)


def _bound(above: bool) -> Spelling:
    """LowerBound and UpperBound: where each of ``values`` [rows, n] would be put into the sorted ``rows`` [rows, m]."""

    def spelling(operation: Any, rows: Any, values: Any) -> Any:
        import tensorflow as tf

        compare = tf.less_equal if above else tf.less
        smaller = compare(rows[:, None, :], values[:, :, None])
        return tf.reduce_sum(tf.cast(smaller, operation.get_attr("out_type")), -1)

    return spelling


def _extract_patches(operation: Any, x: Any) -> Optional[Any]:
    """[N, rows, columns, height*width*channels]: a reshape where patches lie side by side, else one slice for each pixel of a patch."""
    import tensorflow as tf

    kernel, strides, rates = (operation.get_attr(name)[1:3] for name in ("ksizes", "strides", "rates"))
    sizes, channels = x.shape[1:3].as_list(), x.shape[3]
    if None in sizes or channels is None:
        return None
    reach = [r * (k - 1) + 1 for r, k in zip(rates, kernel)]
    if operation.get_attr("padding") == b"SAME":
        counts = [-(-size // stride) for size, stride in zip(sizes, strides)]
        missing = [max((n - 1) * s + r - size, 0) for n, s, r, size in zip(counts, strides, reach, sizes)]
        x = tf.pad(x, [[0, 0], *([each // 2, each - each // 2] for each in missing), [0, 0]])
    else:
        counts = [(size - r) // s + 1 for size, r, s in zip(sizes, reach, strides)]
    if kernel == strides and rates == [1, 1]:
        (rows, columns), (height, width) = counts, kernel
        x = tf.reshape(x[:, : rows * height, : columns * width], [-1, rows, height, columns, width, channels])
        return tf.reshape(tf.transpose(x, [0, 1, 3, 2, 4, 5]), [-1, rows, columns, height * width * channels])
    parts = []
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            starts = [i * rates[0], j * rates[1]]
            ends = [start + (n - 1) * s + 1 for start, n, s in zip(starts, counts, strides)]
            parts.append(x[:, starts[0] : ends[0] : strides[0], starts[1] : ends[1] : strides[1]])
    return tf.concat(parts, 3)


def _resized(operation: Any, x: Any, *_more: Any) -> Optional[Any]:
    """A resizing that is linear and works on rows and columns apart: a product with a matrix each, which the operation itself gives
    for pictures of one bright pixel."""
    import tensorflow as tf

    sizes = x.shape[1:3].as_list()
    settings = [_known(each) for each in operation.inputs[1:]]
    if None in sizes or any(each is None for each in settings) or not x.dtype.is_floating:
        return None
    rows, columns = (_matrix(operation, axis, size, settings) for axis, size in enumerate(sizes))
    # Channels first: matrices of rows and columns multiply the last two dimensions.
    pictures = tf.transpose(x, [0, 3, 1, 2])
    resized = tf.matmul(tf.matmul(tf.constant(rows), pictures), tf.constant(columns), transpose_b=True)
    return tf.transpose(resized, [0, 2, 3, 1])


def _known(tensor: Any) -> Optional[Any]:
    """The value of a tensor that is constant but for the open batch, such as the quotient of two sizes of pictures."""
    import tensorflow as tf
    from tensorflow.python.framework.tensor_util import constant_value_as_shape

    value = tf.get_static_value(tensor)
    kind = tensor.op.type
    if value is not None or kind not in ("Cast", "RealDiv", "StridedSlice"):
        return value
    if kind == "StridedSlice":
        sizes = constant_value_as_shape(tensor)
        return np.array(sizes.as_list(), np.int32) if sizes.is_fully_defined() else None
    known = [_known(each) for each in tensor.op.inputs]
    if any(each is None for each in known):
        return None
    return known[0].astype(tensor.dtype.as_numpy_dtype) if kind == "Cast" else known[0] / known[1]


def _matrix(operation: Any, axis: int, size: int, settings: List[Any]) -> Any:
    """[new size, size]: what the operation makes of each pixel of a line along ``axis``."""
    import tensorflow as tf

    def along(values: Any, other: Any) -> Any:
        both = np.array([other, other], values.dtype)
        both[axis] = values[axis]
        return both

    others = [1, 1.0, 0.0]  # The new size, the scale and the translation of a dimension of one pixel that stays.
    attributes = {name: operation.get_attr(name) for name in _RESIZE_ATTRIBUTES[operation.type]}
    line = np.eye(size, dtype=np.float32)[:, :, None, None] if axis == 0 else np.eye(size, dtype=np.float32)[:, None, :, None]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        inputs = [along(each, other) for each, other in zip(settings, others)]
        found = getattr(tf.raw_ops, operation.type)(**dict(zip(_RESIZE_INPUTS, [line, *inputs])), **attributes)
        return session.run(found).reshape(size, -1).T.copy()


_RESIZE_INPUTS = ("images", "size", "scale", "translation")
_RESIZE_ATTRIBUTES = {
    "ResizeArea": ("align_corners",),
    "ResizeBicubic": ("align_corners", "half_pixel_centers"),
    "ScaleAndTranslate": ("kernel_type", "antialias"),
}

SPELLINGS: Dict[str, Spelling] = {
    "Log1p": _log1p,
    "Expm1": _expm1,
    "Erfc": _erfc,
    "Xlogy": _xlogy,
    "Xdivy": _xdivy,
    "MulNoNan": _multiply_no_nan,
    "L2Loss": _l2_loss,
    "EuclideanNorm": _euclidean_norm,
    "Cross": _cross,
    "Bucketize": _bucketize,
    "LowerBound": _bound(above=False),
    "UpperBound": _bound(above=True),
    "ExtractImagePatches": _extract_patches,
    **dict.fromkeys(_RESIZE_ATTRIBUTES, _resized),
}
