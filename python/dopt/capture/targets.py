"""Reshape and Resize targets that an exporter computed from an open batch size, written as constants instead.

``Reshape(x, [batch, 64])`` is ``Reshape(x, [0, 64])`` (0 copies the size of x) when x starts with the same batch, and
otherwise ``Reshape(x, [-1, 64])``; ``Resize`` to ``[batch, c, 2h, 2w]`` is ``Resize`` by scales ``[1, 1, 2, 2]``. The
chain of shape operators that computed the target then has no reader any more.
"""

from typing import Any, List, Mapping, Optional, Sequence

from dopt.capture.network import FLOAT, INT64, Network, TensorType, Weight, attribute, unique_name


def fix_targets(network: Network, types: Mapping[str, TensorType], values: Mapping[str, Any]) -> None:
    """Replaces computed targets of Reshape and Resize by equivalent constants wherever ``values`` allow it."""
    import numpy as np

    taken = network.tensor_names()
    for node in network.nodes:
        if node.domain or not node.input or node.input[0] not in types or types[node.input[0]].shape is None:
            continue
        shape: Sequence[Any] = types[node.input[0]].shape or ()
        if node.op_type == "Reshape" and len(node.input) == 2 and node.input[1] in values and not _flag(node, "allowzero"):
            target = reshape_target(list(values[node.input[1]].flat), shape)
            if target is not None:
                node.input[1] = unique_name(f"{node.name}_shape", taken)
                network.weights[node.input[1]] = Weight(INT64, np.array(target, np.int64))
        elif node.op_type == "Resize" and network.opset >= 13 and len(node.input) == 4 and node.input[3] in values:
            scales = None if _resizes_specially(node) else resize_scales(list(values[node.input[3]].flat), shape)
            if scales is not None:
                name = unique_name(f"{node.name}_scales", taken)
                network.weights[name] = Weight(FLOAT, np.array(scales, np.float32))
                node.input[2] = name
                del node.input[3:]


def reshape_target(wanted: Sequence[Any], shape: Sequence[Any]) -> Optional[List[int]]:
    """A constant target with the meaning of ``wanted`` (ints, symbols, None) for data of ``shape``; None if there is none.

    At most one element may stay open and become -1. Fully known targets are left to constant folding (None).
    """
    target: List[Any] = list(wanted)
    if all(isinstance(size, int) for size in target):
        return None
    for index, size in enumerate(target):
        if isinstance(size, str) and index < len(shape) and shape[index] == size:
            target[index] = 0
    open_places = [index for index, size in enumerate(target) if not isinstance(size, int)]
    if len(open_places) > 1 or (open_places and -1 in target):
        return None
    for index in open_places:
        target[index] = -1
    return target


def resize_scales(sizes: Sequence[Any], shape: Sequence[Any]) -> Optional[List[float]]:
    """Scales that lead from ``shape`` to ``sizes`` exactly in float32, or None. Fully known sizes give None too."""
    import numpy as np

    if len(sizes) != len(shape) or all(isinstance(size, int) for size in sizes):
        return None
    scales = []
    for size, before in zip(sizes, shape):
        if isinstance(size, str) and size == before:
            scales.append(1.0)
        elif isinstance(size, int) and isinstance(before, int) and before > 0 and size > 0:
            scale = float(np.float32(size / before))
            # A rounded scale may lose a pixel or move the sampling points.
            if scale * before != size:
                return None
            scales.append(scale)
        else:
            return None
    return scales


def _resizes_specially(node: Any) -> bool:
    mode = attribute(node, "coordinate_transformation_mode")
    policy = attribute(node, "keep_aspect_ratio_policy")
    return (
        (mode is not None and mode.s == b"tf_crop_and_resize")
        or (policy is not None and policy.s != b"stretch")
        or attribute(node, "axes") is not None
    )


def _flag(node: Any, name: str) -> bool:
    item = attribute(node, name)
    return item is not None and item.i != 0
