"""Walking models slice by slice, choosing ranges and correcting biases, against whole-model runs in onnxruntime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from dopt import safetensors
from dopt.errors import DoptError
from dopt.events import Events
from dopt.execute.refine import aim, bias_shift, choose_range, refine, squared_error, widest_of_the_good
from dopt.execute.slices import SlicedModel
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 4


def residual_net(path, quantized, seed=0):
    """x -> conv1 -> relu -> conv2 -> (+ relu) -> conv3; ``quantized`` rounds the weights coarsely and puts a
    QuantizeLinear/DequantizeLinear pair on the two tensors that convolutions read inside."""
    random = np.random.RandomState(seed)
    nodes, constants = [], []

    def conv(name, source):
        weight = random.randn(CHANNELS, CHANNELS, 3, 3).astype(np.float32) * 0.2
        bias = random.randn(CHANNELS).astype(np.float32)
        if quantized:
            weight = (np.floor(weight / 0.05) * 0.05).astype(np.float32)
        constants.extend([numpy_helper.from_array(weight, name + "/w"), numpy_helper.from_array(bias, name + "/b")])
        inputs = [source, name + "/w", name + "/b"]
        nodes.append(helper.make_node("Conv", inputs, [name], name, pads=[1, 1, 1, 1]))
        return name

    def quantizer(tensor):
        if not quantized:
            return tensor
        constants.append(numpy_helper.from_array(np.float32(0.05), tensor + "/scale"))
        constants.append(numpy_helper.from_array(np.uint8(0), tensor + "/zero_point"))
        parameters = [tensor + "/scale", tensor + "/zero_point"]
        nodes.append(helper.make_node("QuantizeLinear", [tensor] + parameters, [tensor + "/quantized"]))
        nodes.append(
            helper.make_node("DequantizeLinear", [tensor + "/quantized"] + parameters, [tensor + "/dequantized"])
        )
        return tensor + "/dequantized"

    nodes.append(helper.make_node("Relu", [conv("conv1", "x")], ["relu1"], "relu1"))
    first = quantizer("relu1")
    nodes.append(helper.make_node("Add", [conv("conv2", first), first], ["sum"], "sum"))
    nodes.append(helper.make_node("Relu", ["sum"], ["relu2"], "relu2"))
    conv("conv3", quantizer("relu2"))
    shape = ["N", CHANNELS, 6, 6]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("conv3", TensorProto.FLOAT, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def run(path, feeds, tensor):
    model = onnx.load(path)
    if tensor not in [o.name for o in model.graph.output]:
        model.graph.output.append(onnx.ValueInfoProto(name=tensor))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run([tensor], feed)[0] for feed in feeds]


@pytest.fixture
def samples(tmp_path):
    data = np.random.RandomState(1).randn(12, CHANNELS, 6, 6).astype(np.float32)
    np.save(str(tmp_path / "x.npy"), data)
    source = {
        "path": str(tmp_path / "x.npy"),
        "preprocess": {"color": "rgb", "interpolation": "bilinear", "mean": 0, "std": 1, "layout": "nchw"},
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["N", CHANNELS, 6, 6]}],
        "indices": None,
        "skipBad": False,
    }
    return source, [{"x": row[None]} for row in data]


def layer(name, choice=None, correct=True):
    return {
        "name": name,
        "floatOutput": name,
        "quantizedOutput": name,
        "axis": 1,
        "correctBias": correct,
        "hasBias": True,
        "sum": None,
        "activated": None,
        "choice": choice,
    }


RECONSTRUCTION = {
    "ridges": [0.03, 0.3, 3],
    "damping": 0.001,
    "heldBack": 4,
    "operations": 1e9,
    "inputs": 1000,
    "limit": 127,
}


def walk(tmp_path, source, layers):
    params = {
        "float": residual_net(str(tmp_path / "float.onnx"), False),
        "quantized": residual_net(str(tmp_path / "quantized.onnx"), True),
        "source": source,
        "layers": layers,
        "rangeRule": "widest",
        "weights": None,
        "reconstruction": RECONSTRUCTION,
        "out": str(tmp_path / "refined.safetensors"),
        "threads": 1,
    }
    return params, refine(params, Events())


def test_slices_compute_what_the_whole_model_computes(tmp_path, samples):
    _, feeds = samples
    path = residual_net(str(tmp_path / "net.onnx"), True)
    sliced = SlicedModel(path, ["conv1", "conv2", "conv3"], feeds, 1)
    for cut in ["conv1", "conv2", "conv3"]:
        sliced.prepare()
        sliced.compute()
        for got, expected in zip(sliced.values(cut), run(path, feeds, cut)):
            np.testing.assert_array_equal(got, expected)


def test_slices_drop_what_nothing_reads_any_more(tmp_path, samples):
    _, feeds = samples
    sliced = SlicedModel(residual_net(str(tmp_path / "net.onnx"), False), ["conv1", "conv2", "conv3"], feeds, 1)
    for _ in range(3):
        sliced.prepare(keep=["sum"])
        sliced.compute()
    # What the last slice reads is there until another one is opened.
    assert set(sliced.cache[0]) == {"relu1", "conv2", "sum", "conv3"}


def test_cuts_out_of_order_are_refused(tmp_path, samples):
    _, feeds = samples
    with pytest.raises(DoptError, match="before its turn"):
        SlicedModel(residual_net(str(tmp_path / "net.onnx"), False), ["conv2", "conv1"], feeds, 1)


def test_correcting_biases_brings_the_end_of_the_network_closer(tmp_path, samples):
    source, feeds = samples
    params, answer = walk(tmp_path, source, [layer("conv1"), layer("conv2"), layer("conv3")])
    assert answer["samples"] == 12
    expected = run(params["float"], feeds, "conv3")
    model = onnx.load(params["quantized"])
    shifts = safetensors.read(params["out"])
    for constant in model.graph.initializer:
        name = constant.name[: -len("/b")]
        if constant.name.endswith("/b") and "shift/" + name in shifts:
            shifted = numpy_helper.to_array(constant) + shifts["shift/" + name]
            constant.CopyFrom(numpy_helper.from_array(shifted, constant.name))
    corrected = str(tmp_path / "corrected.onnx")
    onnx.save(model, corrected)

    def error(path):
        return np.mean([np.square(a - b).mean() for a, b in zip(expected, run(path, feeds, "conv3"))])

    assert error(corrected) < 0.5 * error(params["quantized"])
    # The walk predicts what the corrected model then does.
    assert answer["layers"][2]["errorAfter"] == pytest.approx(error(corrected), rel=1e-3)


def test_the_candidate_with_the_least_output_error_is_taken(tmp_path, samples):
    source, feeds = samples
    candidates = [{"scale": s, "zeroPoint": 0} for s in (2.0, 0.001, 0.02)]
    choice = {
        "tensor": "relu1/dequantized",
        "quantizer": "relu1",
        "shared": [],
        "dtype": "uint8",
        "candidates": candidates,
    }
    _, answer = walk(tmp_path, source, [layer("conv1"), layer("conv2", choice), layer("conv3", correct=False)])
    errors = answer["layers"][1]["candidateErrors"]
    assert len(errors) == 3
    assert answer["layers"][1]["chosen"] == int(np.argmin(errors)) == 2
    assert answer["layers"][0]["chosen"] is None
    assert "shift/conv3" not in safetensors.read(str(tmp_path / "refined.safetensors"))


class Values:
    """Stands for a model of which some tensors have been computed."""

    def __init__(self, **tensors):
        self.tensors = tensors

    def has(self, tensor):
        return tensor in self.tensors

    def values(self, tensor):
        return self.tensors[tensor]


def test_a_layer_before_a_sum_aims_at_what_the_other_term_has_lost():
    random = np.random.RandomState(5)
    outputs, skip = ([random.randn(1, 2, 3).astype(np.float32) for _ in range(4)] for _ in range(2))
    reference, rounded = Values(skip=skip), [np.round(value) for value in skip]
    term = {"float": "skip", "quantized": ["skip/dequantized", "skip"]}
    aimed = aim(outputs, term, reference, Values(skip=rounded))
    for got, rest, output, other in zip(aimed, rounded, outputs, skip):
        np.testing.assert_allclose(got + rest, output + other, rtol=1e-6)
        assert got.dtype == np.float32
    # What the sum reads comes before what is quantized for it.
    behind = Values(**{"skip": rounded, "skip/dequantized": skip})
    for got, output in zip(aim(outputs, term, reference, behind), outputs):
        np.testing.assert_array_equal(got, output)


def test_a_term_that_is_not_at_hand_or_is_repeated_is_left_out_of_account():
    outputs = [np.zeros((1, 2, 3), np.float32)]
    term = {"float": "skip", "quantized": ["skip"]}
    column = [np.ones((1, 2, 1), np.float32)]
    assert aim(outputs, None, Values(), Values()) is outputs
    assert aim(outputs, term, Values(skip=column), Values()) is outputs
    assert aim(outputs, term, Values(), Values(skip=column)) is outputs
    assert aim(outputs, term, Values(skip=column), Values(skip=[np.zeros((1, 2, 1), np.float32)])) is outputs


def test_the_range_of_least_error_where_that_is_the_rule():
    class Attempts:
        variables = {}

        def produced_now(self, tensor):
            return True

        def attempt(self, variables):
            step = float(variables["x/scale"])
            return [np.full(4, step * (1 if i % 2 else -1.1), np.float32) for i in range(8)]

    choice = {
        "tensor": "x/dequantized",
        "quantizer": "x",
        "shared": [],
        "dtype": "uint8",
        "candidates": [{"scale": s, "zeroPoint": 0} for s in (1.0, 1.01)],
    }
    expected = [np.full(4, 0.02 if i % 2 else 0.0, np.float32) for i in range(8)]
    errors, least = choose_range(choice, Attempts(), expected, "least")
    assert least == int(np.argmin(errors))


def test_a_clip_is_taken_only_where_samples_tell_that_it_gains():
    random = np.random.RandomState(0)
    noise = random.rand(16)
    clip, whole = 1.0 + noise, 1.3 + noise
    assert widest_of_the_good(np.stack([clip, whole]), [0.1, 0.2]) == 0
    # The same gain in the mean, but with samples that lose as much as others gain.
    whole = clip + 0.3 + np.where(np.arange(16) % 2, 2.0, -2.0)
    assert widest_of_the_good(np.stack([clip, whole]), [0.1, 0.2]) == 1
    assert widest_of_the_good(np.stack([clip, clip]), [0.1, 0.2]) == 1
    assert widest_of_the_good(np.array([[2.0], [1.0]]), [0.2, 0.1]) == 1


def dequantized_weights(path, out):
    """The net with int8 weights behind DequantizeLinear, named as src/quantize/apply.ts names them."""
    model = onnx.load(path)
    weights = {}
    for name in ("conv1", "conv2", "conv3"):
        constant = next(each for each in model.graph.initializer if each.name == name + "/w")
        value = numpy_helper.to_array(constant)
        scale = (np.abs(value).reshape(CHANNELS, -1).max(axis=1) / 7).astype(np.float32)
        integers = np.clip(np.rint(value / scale[:, None, None, None]), -7, 7).astype(np.int8)
        weights[name] = value
        model.graph.initializer.remove(constant)
        prefix = name + "/weight"
        parts = [(integers, "/quantized"), (scale, "/scale"), (np.zeros(CHANNELS, np.int8), "/zero_point")]
        model.graph.initializer.extend(numpy_helper.from_array(v, prefix + part) for v, part in parts)
        inputs = [prefix + part for _, part in parts]
        model.graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [prefix + "/dequantized"], axis=0))
        conv = next(node for node in model.graph.node if node.name == name)
        conv.input[1] = prefix + "/dequantized"
    onnx.checker.check_model(model)
    onnx.save(model, out)
    return weights


def reconstruction_params(tmp_path, source, **options):
    path, quantized = residual_net(str(tmp_path / "float.onnx"), False), str(tmp_path / "int8.onnx")
    safetensors.write(str(tmp_path / "weights.safetensors"), dequantized_weights(path, quantized))
    return {
        "float": path,
        "quantized": quantized,
        "source": source,
        "layers": [layer("conv1"), layer("conv2"), layer("conv3")],
        "rangeRule": "widest",
        "weights": str(tmp_path / "weights.safetensors"),
        "reconstruction": {**RECONSTRUCTION, **options},
        "out": str(tmp_path / "refined.safetensors"),
        "threads": 1,
    }


def test_solved_weights_bring_the_end_of_the_network_closer(tmp_path, samples):
    source, feeds = samples
    params = reconstruction_params(tmp_path, source, limit=7)
    answer = refine(params, Events())
    solved, path, quantized = safetensors.read(params["out"]), params["float"], params["quantized"]
    model = onnx.load(quantized)
    for constant in model.graph.initializer:
        name = constant.name.split("/")[0]
        value = numpy_helper.to_array(constant)
        if constant.name == name + "/weight/quantized" and "weight/" + name in solved:
            scale = next(c for c in model.graph.initializer if c.name == name + "/weight/scale")
            grid = numpy_helper.to_array(scale)[:, None, None, None]
            integers = np.rint(solved["weight/" + name] / grid)
            # On the grid to the last bit.
            np.testing.assert_array_equal((integers * grid).astype(np.float32), solved["weight/" + name])
            constant.CopyFrom(numpy_helper.from_array(integers.astype(np.int8), constant.name))
        elif constant.name == name + "/b" and "shift/" + name in solved:
            constant.CopyFrom(numpy_helper.from_array(value + solved["shift/" + name], constant.name))
    refined = str(tmp_path / "refined.onnx")
    onnx.save(model, refined)
    expected = run(path, feeds, "conv3")
    before, after = (
        np.mean([np.square(a - b).mean() for a, b in zip(expected, run(each, feeds, "conv3"))])
        for each in (quantized, refined)
    )
    assert after < 0.5 * before
    assert answer["layers"][2]["errorAfter"] == pytest.approx(after, rel=1e-3)
    assert any(each["reconstruction"]["ridge"] is not None for each in answer["layers"])


def test_layers_beyond_the_bound_keep_nearest_rounding(tmp_path, samples):
    source, _ = samples
    params = reconstruction_params(tmp_path, source, inputs=9 * CHANNELS - 1)
    answer = refine(params, Events())
    assert [each["reconstruction"] for each in answer["layers"]] == [None] * 3
    assert not [name for name in safetensors.read(params["out"]) if name.startswith("weight/")]


def test_a_shift_that_cannot_be_told_from_chance_is_not_applied():
    random = np.random.RandomState(3)
    noise = [random.randn(1, 2, 1, 1).astype(np.float32) for _ in range(16)]
    expected = [np.zeros((1, 2, 1, 1), np.float32) for _ in noise]
    biased = [value + np.array([3.0, 0.0], np.float32).reshape(1, 2, 1, 1) for value in noise]
    shift = bias_shift(expected, biased, 1)
    assert shift[0] == pytest.approx(-3.0, abs=0.6)
    assert abs(shift[1]) < 0.2


def test_behind_an_activation_only_what_comes_through_it_counts():
    random = np.random.RandomState(4)
    expected = [random.randn(1, 1, 8, 8).astype(np.float32) for _ in range(16)]
    # Positive values are 0.5 too low, and negative ones, which a ReLU cuts off, 3.
    found = [np.where(value > 0, value - 0.5, value - 3).astype(np.float32) for value in expected]

    def relu(array):
        return np.maximum(array, 0)

    shift, plain = bias_shift(expected, found, 1, relu), bias_shift(expected, found, 1)
    errors = [squared_error(expected, [value + each for value in found], relu) for each in (0.0, shift[0], plain[0])]
    assert shift[0] == pytest.approx(0.5, abs=0.15) and plain[0] > 1.5
    assert errors[1] < 0.2 * errors[0] < errors[2]


def test_the_same_values_before_and_behind_an_activation_shift_nothing():
    values = [np.random.RandomState(5).randn(1, 3, 4).astype(np.float32) for _ in range(4)]
    assert not bias_shift(values, values, 1, np.tanh).any()


def test_a_function_between_two_tensors_of_the_model(tmp_path, samples):
    source, feeds = samples
    path = residual_net(str(tmp_path / "net.onnx"), False)
    graph = onnx.load(path).graph
    node = next(each for each in graph.node if each.op_type == "Relu")
    model = SlicedModel(path, [node.input[0]], feeds, 1)
    model.prepare()
    model.compute()
    follow = model.function(node.input[0], node.output[0])
    for value in model.values(node.input[0]):
        np.testing.assert_array_equal(follow(value), np.maximum(value, 0))
