"""Operators that exporters spell out, put together again: gains and offsets behind a layer, padding before it, PReLU.

A frozen Keras graph leaves ``Conv, Mul [1, C, 1, 1], Add [1, C, 1, 1]`` where batch normalization was; the plan folds
batch normalization into layers, so that is what the pair becomes. Everything here computes the same numbers.
"""

from typing import Any, Dict, List, NamedTuple, Optional

from dopt.capture.network import FLOAT, Network, Weight, reads, unique_name

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
    prelus = sum(_prelu(scene, node) for node in list(network.nodes) if node.op_type == "Add" and not node.domain)
    pads = sum(_pad(scene, node) for node in list(network.nodes) if node.op_type == "Pad" and not node.domain)
    if affine or prelus or pads:
        kept = [node for node in network.nodes if node.name not in scene.removed]
        network.replace_nodes([each for node in kept for each in scene.replaced.get(node.name, [node])])
    if affine:
        network.notes.append(f"{affine} pairs of Mul and Add behind a layer are batch normalizations now.")
    if pads:
        network.notes.append(f"{pads} Pad operators are part of the convolutions behind them now.")
    if prelus:
        network.notes.append(f"{prelus} spelled-out PReLU functions are PRelu operators now.")


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


def _prelu(scene: _Scene, add: Any) -> bool:
    """relu(x) + a · relu(−x), and x · [x > 0] + a · x · [not x > 0], as PRelu(x, slope)."""
    from onnx import helper

    found = _keras_prelu(scene, add) or _masked_prelu(scene, add)
    if found is None:
        return False
    tensor, slope = found
    name = unique_name(f"{add.name}/slope", scene.taken)
    scene.network.weights[name] = Weight(FLOAT, slope)
    scene.replaced[add.name] = [helper.make_node("PRelu", [tensor, name], [add.output[0]], name=add.name)]
    return True


def _keras_prelu(scene: _Scene, add: Any) -> Any:
    """Add(Relu(x), Mul(c, Relu(Neg(x)))): x above 0, −c·x below, so the slope is −c. Keras writes it so."""
    for first, second in (list(add.input), list(add.input)[::-1]):
        positive, scaled = scene.producers.get(first), scene.producers.get(second)
        if not _is(positive, "Relu") or not _is(scaled, "Mul"):
            continue
        constant, other = _split(scene, scaled)
        negative = scene.producers.get(other)
        negated = scene.producers.get(negative.input[0]) if _is(negative, "Relu") else None
        if constant is not None and _is(negated, "Neg") and negated.input[0] == positive.input[0]:
            return positive.input[0], -constant
    return None


def _masked_prelu(scene: _Scene, add: Any) -> Any:
    """Add(Mul(x, Cast(Greater(x, 0))), Mul(a, Mul(x, Cast(Not(Greater(x, 0)))))), in any order of factors."""
    for first, second in (list(add.input), list(add.input)[::-1]):
        above = _masked(scene, first)
        below = _masked(scene, second)
        if above and below and above.tensor == below.tensor and above.positive and not below.positive:
            if above.factor is None and below.factor is not None:
                return above.tensor, below.factor
    return None


class _Masked(NamedTuple):
    """factor · tensor · [tensor > 0], or its complement where ``positive`` is False; factor None is 1."""

    tensor: str
    factor: Any
    positive: bool


def _masked(scene: _Scene, name: str) -> Optional[_Masked]:
    """Reads a product of a tensor, a mask of its sign, and at most one constant."""
    factors = _factors(scene, name)
    constants = [scene.network.weights[each].array for each in factors if each in scene.network.weights]
    masks = [(each, _mask(scene, each)) for each in factors if each not in scene.network.weights]
    signs = [mask for _, mask in masks if mask is not None]
    plain = [each for each, mask in masks if mask is None]
    if len(constants) > 1 or len(signs) != 1 or len(plain) != 1 or signs[0][0] != plain[0]:
        return None
    return _Masked(plain[0], constants[0] if constants else None, signs[0][1])


def _factors(scene: _Scene, name: str, depth: int = 3) -> List[str]:
    """Operands of a tree of Mul nodes."""
    node = scene.producers.get(name)
    if depth == 0 or not _is(node, "Mul"):
        return [name]
    return [each for operand in node.input for each in _factors(scene, operand, depth - 1)]


def _mask(scene: _Scene, name: str) -> Any:
    """(x, True) for Cast(x > 0), (x, False) for Cast(Not(x > 0)); None for anything else."""
    cast = scene.producers.get(name)
    node = scene.producers.get(cast.input[0]) if _is(cast, "Cast") else None
    positive = True
    if _is(node, "Not"):
        positive, node = False, scene.producers.get(node.input[0])
    if _is(node, "Greater") and _is_zero(scene, node.input[1]):
        return node.input[0], positive
    return None


def _split(scene: _Scene, multiply: Any) -> Any:
    """(constant array, other operand) of a Mul; (None, "") when it has no float constant."""
    left, right = multiply.input
    for constant, other in ((left, right), (right, left)):
        weight = scene.network.weights.get(constant)
        if weight is not None and weight.type == FLOAT:
            return weight.array, other
    return None, ""


def _is_zero(scene: _Scene, name: str) -> bool:
    weight = scene.network.weights.get(name)
    return weight is not None and weight.array.size == 1 and float(weight.array.reshape(-1)[0]) == 0.0


def _is(node: Any, op: str) -> bool:
    return node is not None and node.op_type == op and not node.domain
