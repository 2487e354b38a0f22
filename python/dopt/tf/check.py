"""Whether an exported model computes with the integers of training: onnxruntime beside the forward pass, value by value."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from dopt.plugin.equality import Equality, open_session, tie_width
from dopt.tf.frozen import Place, ReadTensor, plain_name, read_tensors
from dopt.tf.layers import Rounded
from dopt.tf.network import mode, rounded_in


def compare(network: Any, model: str, places: List[Place], batches: Sequence[Tuple[Any, ...]]) -> Optional[Equality]:
    """Runs inputs through both. None where this onnxruntime cannot run the model (16 bits before 1.17).

    Behind each comparison the network goes on with onnxruntime's values, so that every difference is one of this place.
    places: of the network's layers in the model, as ``convert`` gives them.
    """
    tensors = _tensors(network, read_tensors(model, places))
    opened = open_session(model, [f"{read.name}/quantized" for read, _ in tensors.values()])
    if opened is None:
        return None
    total = [0, 0, 0, 0, 0]
    largest = 0.0
    for batch in batches:
        values = opened.run([np.asarray(each) for each in batch])
        given = batch[0] if len(batch) == 1 else list(batch)
        ours = _first(network(given, training=False))
        theirs = values[opened.outputs[0]]
        decided = (ours.reshape(len(ours), -1).argmax(1) == theirs.reshape(len(theirs), -1).argmax(1)).sum()
        largest = max(largest, float(np.abs(ours - theirs).max(initial=0)))
        counts = _differences(network, given, values, tensors)
        total = [a + int(b) for a, b in zip(total, (len(ours), *counts, decided))]
    return Equality(*total, largest)


def _tensors(network: Any, read: Dict[str, List[ReadTensor]]) -> Dict[int, Tuple[ReadTensor, str]]:
    """By place: the tensor of the model that it is, and how its axes differ (``as_tensorflow``)."""
    found: Dict[int, Tuple[ReadTensor, str]] = {}
    exported = network.dopt_plan.exported
    for operator, layer, place in exported.layers:
        moved = "Conv" in layer.kind and layer.data_format == "channels_last"
        if read[plain_name(operator)]:
            found.setdefault(id(place), (read[plain_name(operator)][0], "channels" if moved else ""))
    for operator, _, places, transposed in exported.products:
        for place, tensor, turned in zip(places, read[operator], transposed):
            found.setdefault(id(place), (tensor, "last" if turned else ""))
    return found


def as_tensorflow(integers: Any, read: ReadTensor, moved: str, shape: Sequence[int], zero_point: float) -> Optional[Any]:
    """An ONNX tensor in the order of axes, and the shape, of the TensorFlow one; None where they are not the same values.

    moved: ``channels``: ONNX has the channels in front; ``last``: the last two axes are exchanged.
    """
    values = integers.astype(np.float32)
    if values.size != np.prod(shape) and read.pads:
        spatial = len(read.pads) // 2
        both = [(read.pads[at], read.pads[at + spatial]) for at in range(spatial)]
        values = np.pad(values, [(0, 0)] * (values.ndim - spatial) + both, constant_values=zero_point)
    if moved == "channels":
        values = np.moveaxis(values, 1, -1)
    elif moved == "last":
        values = np.swapaxes(values, -1, -2)
    return values.reshape(shape) if values.size == np.prod(shape) else None


def differing(x: Any, own: Any, integers: Any, scale: float, quantizer: Any) -> List[int]:
    """Values compared, different ones, and those beyond ties. ``own``: integers of the network for ``x``, as floats."""
    different = np.abs(own - integers) > 0.5
    position = np.asarray(x, np.float32)[different] / np.float32(scale)
    distance = np.abs(position - np.floor(position) - 0.5)
    return [integers.size, int(different.sum()), int((distance > tie_width(quantizer.grid)).sum())]


def _differences(network: Any, given: Any, values: Dict[str, Any], tensors: Dict[int, Tuple[ReadTensor, str]]) -> List[int]:
    """One pass that follows the exported model."""
    counts = [0, 0, 0]

    def follow(place: Rounded, x: Any) -> Any:
        quantizer = place.quantizer
        y = quantizer.round(x, True)
        if id(place) not in tensors:
            return y
        read, moved = tensors[id(place)]
        scale, zero = quantizer.grid_now()
        integers = as_tensorflow(values[f"{read.name}/quantized"], read, moved, x.shape, float(zero))
        if integers is None:
            return y
        own = np.rint(y.numpy() / scale.numpy()) + zero.numpy()
        for at, count in enumerate(differing(x.numpy(), own, integers, float(scale), quantizer)):
            counts[at] += count
        return (integers - zero) * scale

    places = rounded_in(network)
    for place in places:
        place.following = follow
    try:
        with mode(network, "follow"):
            network(given, training=False)
    finally:
        for place in places:
            place.following = None
    return counts


def _first(value: Any) -> Any:
    """The first tensor of a result, as an array with at least one axis."""
    tensor = tf.nest.flatten(value)[0]
    return np.asarray(tensor, np.float32).reshape(tuple(tensor.shape) or (1,))
