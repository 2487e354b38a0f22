"""Operators that exporters spell out, put together again: gains and offsets behind a layer, padding before it, PReLU.

A frozen Keras graph leaves ``Conv, Mul [1, C, 1, 1], Add [1, C, 1, 1]`` where batch normalization was; the plan folds
batch normalization into layers, so that is what the pair becomes. Everything here computes the same numbers.
"""

from typing import Any, Dict, List, NamedTuple, Optional

from dopt.capture.network import FLOAT, Network, Weight, reads, unique_name
from dopt.capture.prelu import recognize_prelu

#: Layers whose output channels lie on axis 1.
_LAYERS = {"Conv", "ConvTranspose", "Gemm"}


class _Scene(NamedTuple):
    """The network by tensors: who makes each, who reads it (a graph output counts as a reader), and what to put where."""

    network: Network
    producers: Dict[str, Any]
    readers: Dict[str, List[Any]]
    taken: Any
    replaced: Dict[str, List[Any]]
    removed: Dict[str, Any]


def recognize(network: Network) -> None:
    """Replaces spelled-out operators in place and says so in the network's notes."""
    producers = {name: node for node in network.nodes for name in node.output if name}
    readers: Dict[str, List[Any]] = {name: [None] for name in network.output_names()}
    for node in network.nodes:
        for name in reads(node):
            readers.setdefault(name, []).append(node)
    scene = _Scene(network, producers, readers, network.tensor_names(), {}, {})
    affine = sum(_affine(scene, node) for node in list(network.nodes) if node.op_type in _LAYERS and not node.domain)
    pads = sum(_pad(scene, node) for node in list(network.nodes) if node.op_type == "Pad" and not node.domain)
    if affine or pads:
        kept = [node for node in network.nodes if node.name not in scene.removed]
        network.replace_nodes([each for node in kept for each in scene.replaced.get(node.name, [node])])
    prelus = recognize_prelu(network)
    if affine:
        network.notes.append(f"{affine} pairs of Mul and Add behind a layer are batch normalizations now.")
    if pads:
        network.notes.append(f"{pads} Pad operators are part of the convolutions behind them now.")
    if prelus:
        network.notes.append(f"{prelus} spelled-out PReLU functions are single operators now.")


def _affine(scene: _Scene, layer: Any) -> bool:
    """Layer, Mul by a constant a channel, and maybe Add of one, as BatchNormalization with mean 0 and variance 1."""
    import numpy as np
    from onnx import helper

    multiply = _sole_reader(scene, layer.output[0], "Mul")
    gain = multiply and _channel_constant(scene, multiply, layer)
    if gain is None:
        return False
    add = _sole_reader(scene, multiply.output[0], "Add")
    offset = _channel_constant(scene, add, layer, gain.size) if add else None
    last = add if offset is not None else multiply
    offset = np.zeros_like(gain) if offset is None else offset
    names = {}
    for part, array in (("scale", gain), ("B", offset), ("mean", np.zeros_like(gain)), ("var", np.ones_like(gain))):
        names[part] = unique_name(f"{multiply.name}/{part}", scene.taken)
        scene.network.weights[names[part]] = Weight(FLOAT, array)
    node = helper.make_node(
        "BatchNormalization", [layer.output[0], *names.values()], [last.output[0]], name=multiply.name, epsilon=0.0
    )
    scene.replaced[multiply.name] = [node]
    if last is not multiply:
        scene.removed[last.name] = last
    return True


def _sole_reader(scene: _Scene, tensor: str, op: str) -> Any:
    """The node that alone reads a tensor, when it is of the kind."""
    nodes = scene.readers.get(tensor, [])
    alone = len(nodes) == 1 and nodes[0] is not None and nodes[0].op_type == op and not nodes[0].domain
    return nodes[0] if alone and list(nodes[0].input).count(tensor) == 1 else None


def _channel_constant(scene: _Scene, node: Any, layer: Any, channels: Optional[int] = None) -> Any:
    """The constant operand of ``node`` as a float32 vector, when it holds one value for each output channel."""
    import numpy as np

    constants = [scene.network.weights[name] for name in node.input if name in scene.network.weights]
    wanted = channels or _output_channels(scene, layer)
    if len(constants) != 1 or constants[0].type != FLOAT or wanted is None:
        return None
    array = np.asarray(constants[0].array)
    # Conv gives [N, C, ...]: the channels are before the spatial sizes; Gemm gives [N, C].
    spatial = 0 if layer.op_type == "Gemm" else _rank(scene, layer) - 2
    expected = (wanted,) + (1,) * spatial
    shape = array.shape
    while len(shape) > len(expected) and shape[0] == 1:
        shape = shape[1:]
    return np.ascontiguousarray(array.reshape(-1), np.float32) if shape == expected else None


def _rank(scene: _Scene, layer: Any) -> int:
    return int(scene.network.weights[layer.input[1]].array.ndim)


def _output_channels(scene: _Scene, layer: Any) -> Optional[int]:
    weight = scene.network.weights.get(layer.input[1])
    if weight is None:
        return None
    attributes = {each.name: each.i for each in layer.attribute}
    if layer.op_type == "ConvTranspose":
        return int(weight.array.shape[1]) * (attributes.get("group") or 1)
    if layer.op_type == "Gemm":
        return int(weight.array.shape[0 if attributes.get("transB") else 1])
    return int(weight.array.shape[0])


def _pad(scene: _Scene, pad: Any) -> bool:
    """A border of zeros that convolutions alone read: their own padding. PyTorch pads so for unequal sides."""
    readers = scene.readers.get(pad.output[0], [])
    convolutions = [node for node in readers if _is(node, "Conv") and node.input[0] == pad.output[0]]
    border = _border(scene, pad)
    if border is None or not readers or len(convolutions) != len(readers):
        return False
    if any(_attribute(node, "auto_pad") not in (None, b"NOTSET", b"VALID") for node in convolutions):
        return False
    spatial = len(border) // 2
    for node in convolutions:
        own = _attribute(node, "pads") or [0] * (2 * spatial)
        for attribute in [each for each in node.attribute if each.name in ("pads", "auto_pad")]:
            node.attribute.remove(attribute)
        node.attribute.add(name="pads", type=7, ints=[a + b for a, b in zip(own, border)])
        node.input[0] = pad.input[0]
    scene.removed[pad.name] = pad
    return True


def _border(scene: _Scene, pad: Any) -> Optional[List[int]]:
    """Zeros before and after each spatial size, as Conv's ``pads``; None for any other padding."""
    if _attribute(pad, "mode") not in (None, b"constant") or len(pad.input) < 2 or (len(pad.input) > 3 and pad.input[3]):
        return None
    value = scene.network.weights.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else None
    if len(pad.input) > 2 and pad.input[2] and (value is None or float(value.array.reshape(-1)[0]) != 0.0):
        return None
    amounts = scene.network.weights.get(pad.input[1])
    if amounts is None:
        return None
    sizes = [int(each) for each in amounts.array.reshape(-1)]
    rank = len(sizes) // 2
    before, after = sizes[:rank], sizes[rank:]
    if rank < 3 or any(before[:2] + after[:2]) or min(sizes) < 0:
        return None
    return before[2:] + after[2:]


def _attribute(node: Any, name: str) -> Any:
    for each in node.attribute:
        if each.name == name:
            return list(each.ints) if each.type == 7 else each.s
    return None


def _is(node: Any, op: str) -> bool:
    return node is not None and node.op_type == op and not node.domain
