"""What the benchmark says a QDQ model computes in integers (test/bench/peers/scope.py)."""

import sys

import numpy as np
import pytest
from conftest import ROOT
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(ROOT / "test" / "bench"))

from peers.scope import Scope  # noqa: E402


class Net:
    """A graph in the making."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, values, dtype):
        self.constants.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def add(self, op, inputs, **attributes):
        out = "%s_%d" % (op, len(self.nodes))
        self.nodes.append(helper.make_node(op, inputs, [out], **attributes))
        return out

    def rounded(self, value, dtype=np.uint8):
        """A value behind QuantizeLinear and DequantizeLinear."""
        at = len(self.nodes)
        scale = self.constant("scale%d" % at, 0.1, np.float32)
        zero = self.constant("zero%d" % at, 0, dtype)
        return self.add("DequantizeLinear", [self.add("QuantizeLinear", [value, scale, zero]), scale, zero])

    def weight(self, shape, scales):
        """An int8 weight behind DequantizeLinear."""
        at = len(self.nodes)
        names = [
            self.constant("weight%d" % at, np.ones(shape), np.int8),
            self.constant("scales%d" % at, [0.1] * scales if scales > 1 else 0.1, np.float32),
            self.constant("zeros%d" % at, [0] * scales if scales > 1 else 0, np.int8),
        ]
        return self.add("DequantizeLinear", names, **({"axis": 0} if scales > 1 else {}))

    def scope(self, *outputs):
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", [x], ends, self.constants)
        return Scope(graph).describe()


def test_counts_layers_by_their_input_weight_and_scales():
    net = Net()
    first = net.add("Conv", [net.rounded("x"), net.weight([4, 4, 1, 1], 4)])
    second = net.add("Conv", [first, net.weight([4, 4, 1, 1], 1)])
    third = net.add("Conv", [net.rounded(second, np.int16), net.constant("float", np.ones([4, 4, 1, 1]), np.float32)])
    scope = net.scope(third)
    assert scope == {"layers": 3, "inputs": 1, "weights": 2, "channels": 1, "others": 0, "float": 0, "outputs": 0}


def test_a_function_of_one_layer_is_part_of_it_and_a_sum_of_two_is_not():
    net = Net()
    one = net.add("Conv", [net.rounded("x"), net.weight([4, 4, 1, 1], 4)])
    silu = net.add("Mul", [one, net.add("Sigmoid", [one])])
    other = net.add("Conv", [net.rounded("x"), net.weight([4, 4, 1, 1], 4)])
    total = net.add("Add", [silu, other])
    pooled = net.add("GlobalAveragePool", [total])
    scope = net.scope(net.rounded(pooled))
    assert (scope["others"], scope["float"], scope["outputs"]) == (4, 2, 1)


@pytest.mark.parametrize("dtype, in_float", [(np.uint8, 0), (np.int16, 1)])
def test_a_sum_that_a_layer_makes_with_a_tensor_of_8_bits_is_part_of_it(dtype, in_float):
    net = Net()
    layer = net.add("Conv", [net.rounded("x"), net.weight([4, 4, 1, 1], 4)])
    total = net.add("Relu", [net.add("Add", [layer, net.rounded("x", dtype)])])
    scope = net.scope(net.rounded(total))
    # The activation behind a sum that is in float is in float as well.
    assert (scope["others"], scope["float"]) == (2, 2 * in_float)


@pytest.mark.parametrize("moved", ["MaxPool", "Flatten"])
def test_looks_past_what_keeps_numbers(moved):
    net = Net()
    rounded = net.rounded("x")
    if moved == "MaxPool":
        layer = net.add("Conv", [net.add(moved, [rounded], kernel_shape=[2, 2]), net.weight([4, 4, 1, 1], 4)])
    else:
        layer = net.add("Gemm", [net.add(moved, [rounded]), net.weight([256, 5], 5)])
    scope = net.scope(layer)
    assert (scope["layers"], scope["inputs"], scope["channels"]) == (1, 1, 1)


@pytest.mark.parametrize("dtype, read", [(np.uint8, 1), (np.int8, 0)])
def test_tensors_of_one_grid_joined_are_of_that_grid(dtype, read):
    net = Net()
    joined = net.add("Concat", [net.rounded("x"), net.rounded("x", dtype)], axis=1)
    layer = net.add("Conv", [joined, net.weight([4, 8, 1, 1], 4)])
    assert net.scope(layer)["inputs"] == read


def test_a_product_of_two_activations_is_no_layer():
    net = Net()
    rounded = net.rounded("x")
    product = net.add("MatMul", [rounded, rounded])
    scope = net.scope(product)
    assert (scope["layers"], scope["others"], scope["float"]) == (0, 1, 0)
