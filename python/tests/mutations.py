"""Damaged ONNX files for fuzzing: bytes damaged, or fields of the message set to evil values."""

import numpy as np
from fuzzing import damaged_bytes
from models import branching, convolutional, floats, integers, model, node, value
from onnx import helper

EVIL = [0, -1, 1, 2, 7, -7, 1 << 31, -(1 << 31), (1 << 63) - 1, -(1 << 63), 1 << 40]


def seeds():
    """Small models that together reach most of the loading path."""
    transformer = model(
        [
            node("Gather", "table ids", "e", axis=0),
            node("Shape", "e", "s"),
            node("Slice", "s z o", "n"),
            node("Concat", "n rest", "t", axis=0),
            node("Reshape", "e t", "r"),
            node("Transpose", "r", "p", perm=[0, 2, 1]),
            node("MatMul", "r p", "m"),
            node("Softmax", "m", "a", axis=-1),
            node("Split", "a", "l k", axis=1),
            node("ReduceMean", "l", "f", axes=[1]),
            helper.make_node("Resize", ["k", "", "scales"], ["u"], mode="nearest"),
            node("Pad", "u pads", "y"),
        ],
        [value("ids", ["b", 4], 7)],
        [value("y", None), value("f", None)],
        [floats("table", 10, 8), integers("z", 0), integers("o", 1), integers("rest", 4, 8), floats("scales", 3),
         integers("pads", 0, 0, 1, 0, 0, 1)],
        check=False,
    )  # fmt: skip
    return [convolutional(9), convolutional(13, batch=1), branching(11), transformer]


def mutate(rng, models):
    """Bytes of one damaged model."""
    chosen = models[rng.integers(len(models))]
    if rng.random() < 0.4:
        return damaged_bytes(rng, [chosen.SerializeToString()])
    twin = type(chosen)()
    twin.CopyFrom(chosen)
    for _ in range(rng.integers(1, 4)):
        _mutate_message(rng, twin)
    return twin.SerializeToString()


def _pick(rng, items):
    return items[int(rng.integers(len(items)))] if len(items) else None


def _mutate_message(rng, made):
    graph = made.graph
    number = int(_pick(rng, EVIL))
    target = _pick(rng, graph.node)
    kind = int(rng.integers(15))
    if kind == 0 and graph.initializer:
        tensor = _pick(rng, graph.initializer)
        tensor.data_type = int(rng.integers(0, 24))
    elif kind == 1 and graph.initializer:
        tensor = _pick(rng, graph.initializer)
        tensor.dims[:] = [number] * int(rng.integers(0, 4))
    elif kind in (2, 3) and graph.initializer:
        tensor = _pick(rng, graph.initializer)
        fill = np.full(len(tensor.raw_data), number, np.int64)
        tensor.raw_data = fill.tobytes()[: len(tensor.raw_data)]
    elif kind in (4, 5, 6) and target is not None and target.attribute:
        item = _pick(rng, target.attribute)
        if item.ints:
            item.ints[int(rng.integers(len(item.ints)))] = number
        else:
            item.i = number
            item.f = float(number)
    elif kind == 7 and target is not None and target.attribute:
        _pick(rng, target.attribute).type = int(rng.integers(0, 15))
    elif kind == 8 and target is not None and target.input:
        target.input[int(rng.integers(len(target.input)))] = str(_pick(rng, _names(graph)))
    elif kind == 9 and target is not None:
        target.op_type = str(_pick(rng, [n.op_type for n in graph.node] + ["Conv", "If", "Loop", "Scan", "Upsample"]))
    elif kind == 10 and target is not None and target.input:
        del target.input[-1]
    elif kind == 11 and graph.input:
        dims = _pick(rng, graph.input).type.tensor_type.shape.dim
        if dims:
            _pick(rng, dims).dim_value = number
    elif kind == 12 and graph.input:
        _pick(rng, graph.input).type.tensor_type.elem_type = int(rng.integers(0, 24))
    elif kind == 13 and graph.initializer:
        del graph.initializer[int(rng.integers(len(graph.initializer)))]
    elif kind == 14:
        made.opset_import[0].version = int(rng.integers(0, 25))
        made.ir_version = int(rng.integers(0, 12))


def _names(graph):
    return [name for node_ in graph.node for name in [*node_.input, *node_.output]] + ["", "nowhere"]
