"""Small ONNX models for tests, built in memory; seeded, so that every run sees the same weights."""

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def floats(name, *shape, seed=0):
    rng = np.random.default_rng([seed, *name.encode()])
    return constant(name, (rng.standard_normal(shape) * 0.5).astype(np.float32))


def integers(name, *values):
    return constant(name, np.array(values, np.int64))


def model(nodes, inputs, outputs, initializers=(), opset=13, ir=7, domains=(), check=True):
    graph = helper.make_graph(list(nodes), "net", list(inputs), list(outputs), initializer=list(initializers))
    if ir < 4:
        graph.input.extend(value(t.name, list(t.dims), t.data_type) for t in initializers)
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(domain, 1) for domain in domains]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=ir)
    if check:
        checker.check_model(made)
    return made


def node(op, inputs, outputs, name="", **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name=name, **attributes)


def convolutional(opset=13, ir=7, batch="N", named=True):
    """Conv, BatchNormalization, Relu, MaxPool, Conv, Clip, GlobalAveragePool, flatten by shape arithmetic, Gemm, Softmax."""

    def name(text):
        return text if named else ""

    if opset < 11:
        clip = [node("Clip", "c2", "c2c", name("clip"), min=0.0, max=6.0)]
        bounds = []
    else:
        clip = [node("Clip", "c2 low high", "c2c", name("clip"))]
        bounds = [constant("low", np.float32(0)), constant("high", np.float32(6))]
    unsqueeze = (
        [node("Unsqueeze", "n", "n1", name("unsqueeze"), axes=[0])]
        if opset < 13
        else [node("Unsqueeze", "n zero", "n1", name("unsqueeze"))]
    )
    nodes = [
        node("Conv", "x w1 b1", "c1", name("conv1"), kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c1 scale shift mean var", "n1_", name("bn"), epsilon=1e-5),
        node("Relu", "n1_", "r1", name("relu")),
        node("MaxPool", "r1", "p1", name("pool"), kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p1 w2", "c2", name("conv2"), kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        *clip,
        node("GlobalAveragePool", "c2c", "g", name("mean")),
        node("Shape", "g", "s", name("shape")),
        node("Gather", "s first", "n", name("gather"), axis=0),
        *unsqueeze,
        node("Concat", "n1 rest", "target", name("concat"), axis=0),
        node("Reshape", "g target", "flat", name("reshape")),
        node("Gemm", "flat w3 b3", "logits", name("gemm"), transB=1),
        node("Softmax", "logits", "y", name("softmax"), axis=1),
    ]
    weights = [
        floats("w1", 8, 3, 3, 3), floats("b1", 8), floats("w2", 16, 8, 3, 3), floats("w3", 10, 16), floats("b3", 10),
        floats("scale", 8), floats("shift", 8), floats("mean", 8), constant("var", np.linspace(0.5, 2, 8, dtype=np.float32)),
        constant("first", np.int64(0)), integers("rest", -1), *bounds,
    ]  # fmt: skip
    if opset >= 13:
        weights.append(integers("zero", 0))
    return model(nodes, [value("x", [batch, 3, 16, 16])], [value("y", [batch, 10])], weights, opset, ir)


def branching(opset=13):
    """If whose branches read an outer tensor."""
    then = helper.make_graph([node("Relu", "x", "a")], "then", [], [value("a", None)])
    other = helper.make_graph([node("Neg", "x", "b"), node("Abs", "b", "c")], "else", [], [value("c", None)])
    nodes = [
        node("ReduceSum", "x", "sum", "sum", keepdims=0),
        node("Greater", "sum zero", "positive", "greater"),
        helper.make_node("If", ["positive"], ["y"], name="if", then_branch=then, else_branch=other),
    ]
    return model(
        nodes, [value("x", [2, 3])], [value("y", None)], [constant("zero", np.float32(0))], opset, check=False
    )


def write(made, path, external=False):
    """Saves a model; with ``external`` every initializer goes into one file beside it."""
    if external:
        save(made, str(path), save_as_external_data=True, location=path.name + ".data", size_threshold=0)
    else:
        path.write_bytes(made.SerializeToString())
    return path
