"""Graphs run by PyTorch: operator by operator the numbers of onnxruntime, on the processor, on a GPU or its stand-in."""

import numpy as np
import onnxruntime
import pytest
import torch
from models import constant, model, node, value
from onnx import TensorProto, helper

from dopt import gpu as gpus
from dopt.execute.torch_session import TorchSession

RANDOM = np.random.RandomState(0)


def f(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def i(*values):
    return np.array(values, np.int64)


X4, X3, X2 = f(2, 4, 6, 8), f(2, 3, 5), f(3, 4)
#: operator, inputs (None: left out), attributes, outputs, whether PyTorch runs it
CASES = [
    *[(op, [X2], {}, 1, True) for op in ("Abs Neg Exp Erf Sigmoid Tanh Relu Floor Ceil Round Sin Cos Sign HardSwish "
                                        "HardSigmoid LeakyRelu Elu Celu Softplus Softsign Mish Softmax LogSoftmax Identity "
                                        "Reciprocal Flatten Shape Transpose Dropout").split()],
    ("Round", [np.array([0.5, 1.5, -0.5, 2.5], np.float32)], {}, 1, True),
    ("Sqrt", [np.abs(X2)], {}, 1, True),
    ("Log", [np.abs(X2) + 1], {}, 1, True),
    ("Elu", [X2], {"alpha": 0.3}, 1, True),
    ("HardSigmoid", [X2], {"alpha": 0.17, "beta": 0.4}, 1, True),
    ("Softmax", [X4], {"axis": 1}, 1, True),
    *[(op, [X4, f(4, 1, 1)], {}, 1, True) for op in ("Add", "Sub", "Mul", "Div", "PRelu", "Min", "Max", "Mean", "Sum")],
    ("Sum", [X2, X2, f(4)], {}, 1, True),
    ("Div", [i(7, -7, 9), i(2, 2, -4)], {}, 1, True),
    ("Pow", [np.abs(X2), np.float32(0.5)], {}, 1, True),
    *[(op, [X2, f(3, 4)], {}, 1, True) for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")],
    ("Equal", [i(1, 2), i(1, 3)], {}, 1, True),
    ("Where", [X2 > 0, X2, np.float32(7)], {}, 1, True),
    ("Clip", [X2, np.float32(-0.5), np.float32(0.6)], {}, 1, True),
    ("Clip", [X2, None, np.float32(0.6)], {}, 1, True),
    ("Cast", [X2], {"to": TensorProto.INT32}, 1, True),
    ("Cast", [X2 > 0], {"to": TensorProto.FLOAT}, 1, True),
    ("MatMul", [X3, f(5, 7)], {}, 1, True),
    ("Gemm", [X2, f(5, 4), f(5)], {"transB": 1, "alpha": 0.5, "beta": 2.0}, 1, True),
    ("Gemm", [f(4, 3), f(4, 5)], {"transA": 1}, 1, True),
    ("Einsum", [f(2, 3, 4), f(2, 4, 5)], {"equation": "b i j, b j k -> b i k"}, 1, True),
    ("Conv", [X4, f(6, 2, 3, 3), f(6)], {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2], "group": 2}, 1, True),
    ("Conv", [X4, f(6, 4, 3, 3)], {"pads": [1, 1, 1, 1]}, 1, True),
    ("Conv", [X4, f(6, 4, 3, 2)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 1, True),
    ("Conv", [X4, f(6, 4, 2, 2)], {"auto_pad": "SAME_LOWER"}, 1, True),
    ("Conv", [X3, f(4, 3, 3)], {"pads": [2, 0]}, 1, True),
    ("ConvTranspose", [X4, f(4, 3, 3, 3), f(3)], {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 0]}, 1, True),
    ("ConvTranspose", [X4, f(4, 2, 2, 2)], {"strides": [2, 2], "group": 2}, 1, True),
    ("ConvTranspose", [X4, f(4, 3, 3, 3)], {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, 1, False),
    ("MaxPool", [X4], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}, 1, True),
    ("MaxPool", [X4], {"kernel_shape": [2, 3], "auto_pad": "SAME_UPPER", "strides": [2, 1]}, 1, True),
    ("MaxPool", [X4], {"kernel_shape": [2, 3], "auto_pad": "SAME_UPPER", "dilations": [2, 1]}, 1, False),
    ("MaxPool", [X4], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, 1, False),
    ("AveragePool", [X4], {"kernel_shape": [3, 3], "pads": [1, 1, 0, 1], "strides": [2, 2]}, 1, True),
    ("AveragePool", [X4], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, 1, True),
    ("GlobalAveragePool", [X4], {}, 1, True),
    ("GlobalMaxPool", [X4], {}, 1, True),
    ("BatchNormalization", [X4, f(4), f(4), f(4), np.abs(f(4)) + 0.1], {"epsilon": 1e-3}, 1, True),
    ("InstanceNormalization", [X4, f(4), f(4)], {}, 1, True),
    ("LayerNormalization", [X3, f(5), f(5)], {"axis": -1, "epsilon": 1e-6}, 1, True),
    ("LRN", [X4], {"size": 3}, 1, False),
    *[(op, [X4], {"axes": [2, 3], "keepdims": 0}, 1, True) for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2")],
    ("ReduceSum", [X4, i(-1)], {}, 1, True),
    ("ReduceSum", [X2], {"keepdims": 0}, 1, True),
    ("Concat", [X2, f(3, 2)], {"axis": 1}, 1, True),
    ("Split", [X4, i(1, 3)], {"axis": 1}, 2, True),
    ("Split", [X4], {"axis": 3}, 4, True),
    ("Slice", [X4, i(1, -3), i(1000, -1), i(2, 3)], {}, 1, True),
    ("Slice", [X4, i(-1), i(-(2**31)), i(3), i(-2)], {}, 1, True),
    ("Slice", [X4, i(5), i(2), i(2)], {}, 1, True),
    ("Gather", [X4, np.array([[0, -1], [2, 1]], np.int64)], {"axis": 1}, 1, True),
    ("Gather", [X2, np.array(1, np.int32)], {}, 1, True),
    ("GatherND", [X2, np.array([[0, 1]], np.int64)], {}, 1, False),
    ("Reshape", [X4, i(0, -1, 4)], {}, 1, True),
    ("Flatten", [X4], {"axis": -2}, 1, True),
    ("Transpose", [X4], {"perm": [0, 2, 3, 1]}, 1, True),
    ("Squeeze", [f(1, 3, 1), i(-1)], {}, 1, True),
    ("Unsqueeze", [X2, i(0, -1)], {}, 1, True),
    ("Expand", [f(3, 1), i(2, 1, 4)], {}, 1, True),
    ("Tile", [X2, i(2, 1)], {}, 1, True),
    ("Pad", [X4, i(0, 0, 1, 0, 0, 0, 2, 1), np.float32(3)], {}, 1, True),
    ("Pad", [X4, i(0, 1, -1, 0, 0, 0, 0, 0)], {}, 1, True),
    ("Pad", [X4, i(0, 0, 1, 2, 0, 0, 1, 0)], {"mode": "reflect"}, 1, True),
    ("Pad", [X4, i(0, 0, 1, 2, 0, 0, 1, 0)], {"mode": "edge"}, 1, True),
    ("Resize", [X4, None, np.array([1, 1, 2, 3], np.float32)],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 1, True),
    ("Resize", [X4, None, np.array([1, 1, 2, 2], np.float32)], {"mode": "linear"}, 1, True),
    ("Resize", [X4, None, None, i(2, 4, 12, 16)], {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, 1, True),
    ("Resize", [X4, None, np.array([1, 1, 1.5, 0.5], np.float32)], {"mode": "linear"}, 1, False),
    ("DepthToSpace", [X4], {"blocksize": 2}, 1, True),
    ("DepthToSpace", [X4], {"blocksize": 2, "mode": "CRD"}, 1, True),
    ("SpaceToDepth", [X4], {"blocksize": 2}, 1, True),
    ("ConstantOfShape", [i(2, 3)], {"value": helper.make_tensor("v", TensorProto.FLOAT, [1], [2.5])}, 1, True),
    ("QuantizeLinear", [X4, np.float32(0.03), np.uint8(128)], {}, 1, True),
    ("QuantizeLinear", [X4, np.abs(f(4)) + 0.01, np.zeros(4, np.int8)], {"axis": 1}, 1, True),
    ("DequantizeLinear", [RANDOM.randint(0, 255, (2, 4)).astype(np.uint8), np.float32(0.03), np.uint8(7)], {}, 1, True),
    ("DequantizeLinear", [RANDOM.randint(-99, 99, (4, 2)).astype(np.int32), f(4)], {"axis": 0}, 1, True),
    ("TopK", [X2, i(2)], {}, 2, False),
]


def of_node(op, inputs, attributes, count):
    """A model of one node and its feeds; arrays of int64 and single numbers are constants, as in captured graphs."""
    names = [f"in{at}" if array is not None else "" for at, array in enumerate(inputs)]
    fixed = [at for at, array in enumerate(inputs) if at > 0 and array is not None and (array.dtype == np.int64 or array.ndim == 0)]
    given = {names[at]: array for at, array in enumerate(inputs) if array is not None}
    made = helper.make_node(op, names, [f"out{at}" for at in range(count)], **attributes)
    values = [value(name, list(array.shape), helper.np_dtype_to_tensor_dtype(array.dtype)) for name, array in given.items()
              if int(name[2:]) not in fixed]
    outputs = [helper.make_empty_tensor_value_info(f"out{at}") for at in range(count)]
    constants = [constant(names[at], inputs[at]) for at in fixed]
    return model([made], values, outputs, constants, opset_of(op, inputs), 8, check=False), {key: array for key, array in given.items() if int(key[2:]) not in fixed}


def by_onnxruntime(made, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feeds)


def opset_of(op, inputs):
    """17 has what captured graphs have; Mish and the splits by number are newer."""
    return 18 if op in ("Mish",) or (op == "Split" and len(inputs) == 1) else 17


def check(case, device):
    op, inputs, attributes, count, native = case
    made, feeds = of_node(op, inputs, {**attributes, **({"num_outputs": 4} if (op, len(inputs)) == ("Split", 1) else {})}, count)
    session = TorchSession(made, "", device, 1)
    found = session.run(session.names, feeds)
    for one, other in zip(found, by_onnxruntime(made, feeds)):
        assert one.dtype == other.dtype and one.shape == other.shape, op
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6, err_msg=f"{op} {attributes}")
    assert (op not in session.foreign) == native, f"{op} {attributes}: onnxruntime ran {session.foreign}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_operators_compute_what_onnxruntime_does(case):
    check(case, torch.device("cpu"))


def test_operators_compute_the_same_on_a_device(gpu):
    for case in CASES:
        check(case, gpus.torch_device(gpu))


def test_a_graph_gives_inner_tensors_and_frees_the_rest(tmp_path):
    from models import convolutional
    from onnx import save

    from dopt.execute.session import Executor, open_inner

    path = str(tmp_path / "net.onnx")
    save(convolutional(), path)
    feeds = {"x": f(2, 3, 16, 16)}
    wanted = ["r1", "logits", "x", "target"]
    inners = [open_inner(path, wanted, 1, executor) for executor in (None, Executor("torch"))]
    assert inners[0][1:] == inners[1][1:] and inners[1].ignored == [("target", "tensor(int64)")]
    names = [name for name, _ in inners[0].outputs]
    for one, other in zip(*[inner.session.run(names, feeds) for inner in inners]):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert inners[1].session.foreign == {}


def test_subgraphs_are_run_by_onnxruntime():
    branches = [helper.make_graph([node(op, "y", "z")], op, [], [value("z", [2])]) for op in ("Neg", "Exp")]
    nodes = [node("Relu", "x", "y"), helper.make_node("If", ["c"], ["r"], then_branch=branches[0], else_branch=branches[1])]
    made = model(nodes, [value("x", [2]), value("c", [], TensorProto.BOOL)], [value("r", [2])])
    session = TorchSession(made, "", torch.device("cpu"), 1)
    for chosen in (True, False):
        feeds = {"x": np.array([1, -1], np.float32), "c": np.array(chosen)}
        np.testing.assert_allclose(session.run(["r"], feeds)[0], by_onnxruntime(made, feeds)[0], rtol=1e-6)
    assert session.foreign == {"If": 2}
