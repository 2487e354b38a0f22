"""What single quantizers do to the outputs, against whole-model runs of onnxruntime with the change written into the model."""

import numpy as np
import onnx
import onnxruntime
import pytest
from dopt import safetensors
from dopt.events import Events
from dopt.execute.parts import Network, Walk
from dopt.execute.sensitivity import compare_samples, sensitivity, squared_error
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SAMPLES = 4, 6
GRID = {"bits": 8, "signed": False, "axis": 1, "scales": [0.5], "zeroPoints": [3]}


def network(path, rounding):
    """x -> conv1 -> relu1 -> conv2, + relu1 -> sum -> conv3 (second output: conv2). Convolutions read behind a border node,
    Identity or the quantizer of GRID; ``rounding`` names the tensors that are rounded and the weights made coarse."""
    random = np.random.RandomState(0)
    nodes, constants = [], []

    def conv(name, source):
        weight = random.randn(CHANNELS, CHANNELS, 3, 3).astype(np.float32) * 0.2
        if name in rounding:
            weight = coarse(weight)
        constants.append(numpy_helper.from_array(weight, name + "/w"))
        nodes.append(helper.make_node("Conv", [source, name + "/w"], [name], name, pads=[1, 1, 1, 1]))
        return name

    def border(tensor):
        if tensor not in rounding:
            nodes.append(helper.make_node("Identity", [tensor], [tensor + "/dequantized"]))
            return tensor + "/dequantized"
        constants.append(numpy_helper.from_array(np.float32(GRID["scales"][0]), tensor + "/scale"))
        constants.append(numpy_helper.from_array(np.uint8(GRID["zeroPoints"][0]), tensor + "/zero_point"))
        grid = [tensor + "/scale", tensor + "/zero_point"]
        nodes.append(helper.make_node("QuantizeLinear", [tensor] + grid, [tensor + "/quantized"]))
        nodes.append(helper.make_node("DequantizeLinear", [tensor + "/quantized"] + grid, [tensor + "/dequantized"]))
        return tensor + "/dequantized"

    nodes.append(helper.make_node("Relu", [conv("conv1", border("x"))], ["relu1"], "relu1"))
    nodes.append(helper.make_node("Add", [conv("conv2", border("relu1")), "relu1"], ["sum"], "sum"))
    conv("conv3", border("sum"))
    shape = ["N", CHANNELS, 6, 6]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("conv3", "conv2")],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), str(path))
    return str(path)


def coarse(weight):
    return (np.floor(weight / 0.05) * 0.05).astype(np.float32)


def run(path, feeds, names):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [session.run(names, {"x": feed}) for feed in feeds]


def expected_noise(float_path, other_path, feeds):
    """Noise of both outputs, summed over the samples."""
    names = ["conv3", "conv2"]
    pairs = zip(run(float_path, feeds, names), run(other_path, feeds, names))
    rows = [[float(np.square(b.astype(np.float64) - a).sum()) for a, b in zip(*pair)] for pair in pairs]
    return [sum(column) for column in zip(*rows)]


@pytest.fixture
def scene(tmp_path):
    """Float model, samples and a function that runs sensitivity with its usual parameters."""
    feeds = np.random.RandomState(1).randn(SAMPLES, 1, CHANNELS, 6, 6).astype(np.float32)
    np.save(str(tmp_path / "x.npy"), feeds.reshape(SAMPLES, CHANNELS, 6, 6))
    source = {
        "path": str(tmp_path / "x.npy"),
        "preprocess": {"color": "rgb", "interpolation": "bilinear", "mean": 0, "std": 1, "layout": "nchw"},
        "inputs": [{"name": "x", "dtype": "float32", "shape": [1, CHANNELS, 6, 6]}],
        "indices": None,
        "skipBad": False,
    }
    model = network(tmp_path / "float.onnx", ())

    def call(**more):
        usual = {"reference": model, "model": model, "quantized": None, "exact": True, "values": None}
        return sensitivity({**usual, "source": source, "maxBytes": 1 << 30, "threads": 1, **more}, Events())

    return tmp_path, model, list(feeds), source, call


def activation(tensor, quantizers, watch=()):
    change = {"kind": "activation", "tensor": tensor, "instead": tensor + "/dequantized"}
    return {"name": tensor, "change": {**change, "watch": list(watch), "quantizers": quantizers}}


@pytest.mark.parametrize("tensor", ["x", "relu1", "sum"])
def test_one_activation_alone_is_as_in_a_model_that_rounds_it(scene, tensor):
    folder, model, feeds, _, call = scene
    answer = call(probes=[activation(tensor, [GRID, None])])
    rounded, plain = answer["probes"][0]["alternatives"]
    wanted = expected_noise(model, network(folder / "rounded.onnx", {tensor}), feeds)
    assert rounded["noise"] == pytest.approx(wanted, rel=1e-6)
    assert plain["noise"] == [0, 0]
    # Noise of conv2 is none where only conv3 reads the change.
    assert (rounded["noise"][1] == 0) == (tensor == "sum")
    assert answer["samples"] == SAMPLES and answer["base"] == [0, 0]


def test_one_weight_alone_is_as_in_a_model_that_has_it(scene):
    folder, model, feeds, _, call = scene
    weight = numpy_helper.to_array([w for w in onnx.load(model).graph.initializer if w.name == "conv2/w"][0])
    safetensors.write(str(folder / "values"), {"coarse": coarse(weight), "same": weight})
    change = {"kind": "weight", "tensor": "conv2/w", "output": "conv2", "values": ["coarse", "same"]}
    answer = call(probes=[{"name": "w", "change": change}], values=str(folder / "values"))
    rounded, same = answer["probes"][0]["alternatives"]
    wanted = expected_noise(model, network(folder / "coarse.onnx", {"conv2"}), feeds)
    assert rounded["noise"] == pytest.approx(wanted, rel=1e-5)
    assert rounded["layer"]["noise"] == pytest.approx(wanted[1], rel=1e-5)
    assert same["noise"] == [0, 0] and same["layer"]["noise"] == 0


def test_errors_at_the_layers_that_read_it_and_at_what_has_come_together(scene):
    folder, model, feeds, _, call = scene
    everything = {"x", "relu1", "sum", "conv1", "conv2", "conv3"}
    quantized = network(folder / "quantized.onnx", everything)
    probes = [activation(tensor, [GRID], watch=[layer]) for tensor, layer in (("sum", "conv3"), ("x", "conv1"), ("relu1", "conv2"))]
    answer = call(probes=probes, quantized=quantized)
    by_name = {each["name"]: each for each in answer["probes"]}
    assert [each["name"] for each in answer["probes"]] == ["sum", "x", "relu1"]
    prefixes = {"x": {"x"}, "relu1": {"x", "conv1", "relu1"}, "sum": {"x", "conv1", "relu1", "conv2", "sum"}}
    for tensor, prefix in prefixes.items():
        wanted = expected_noise(model, network(folder / f"{tensor}.onnx", prefix), feeds)
        assert by_name[tensor]["accumulated"] == pytest.approx(wanted, rel=1e-6), tensor
    alone = expected_noise(model, network(folder / "relu.onnx", {"relu1"}), feeds)
    assert by_name["relu1"]["alternatives"][0]["layer"]["noise"] == pytest.approx(alone[1], rel=1e-6)
    assert by_name["x"]["arrived"]["noise"] == 0 < by_name["sum"]["arrived"]["noise"]


def test_one_quantizer_less_is_as_in_a_model_without_it(scene):
    folder, model, feeds, _, call = scene
    everything = {"x", "relu1", "sum", "conv2"}
    quantized = network(folder / "quantized.onnx", everything)
    answer = call(model=quantized, probes=[activation(tensor, [None, GRID]) for tensor in ("x", "relu1", "sum")])
    base = expected_noise(model, quantized, feeds)
    assert answer["base"] == pytest.approx(base, rel=1e-6)
    for each in answer["probes"]:
        less, same = each["alternatives"]
        wanted = expected_noise(model, network(folder / "less.onnx", everything - {each["name"]}), feeds)
        assert less["noise"] == pytest.approx(wanted, rel=1e-6)
        assert same["noise"] == pytest.approx(base, rel=1e-6)


def test_a_scale_a_channel(scene):
    _, _, _, _, call = scene
    wide = {**GRID, "scales": [0.5, 0.25, 0.1, 1.0], "zeroPoints": [3, 128, 0, 7]}
    both = [{**wide, "scales": [s] * CHANNELS, "zeroPoints": [z] * CHANNELS} for s, z in [(0.5, 3)]]
    rows = call(probes=[activation("relu1", [GRID, *both, wide])])["probes"][0]["alternatives"]
    assert rows[0]["noise"] == rows[1]["noise"] != rows[2]["noise"]


def test_takes_as_many_samples_as_fit(scene):
    _, _, _, _, call = scene
    tensor = 4 * CHANNELS * 36
    assert call(probes=[activation("relu1", [GRID])], maxBytes=4 * tensor)["samples"] < SAMPLES
    assert call(probes=[activation("relu1", [GRID])], maxBytes=1)["samples"] == 1


def test_samples_one_by_one(scene):
    folder, model, feeds, source, _ = scene
    quantized = network(folder / "quantized.onnx", {"x", "sum"})
    answer = compare_samples({"reference": model, "model": quantized, "source": source, "threads": 1}, Events())
    assert len(answer["samples"]) == SAMPLES
    for feed, sample in zip(feeds, answer["samples"]):
        assert sample["noise"] == pytest.approx(expected_noise(model, quantized, [feed]), rel=1e-5)


def test_a_walk_keeps_only_what_will_be_read(scene):
    _, model, feeds, _, _ = scene
    walk = Walk(Network(model, 1, exact=True), [{"x": feed} for feed in feeds])
    for tensor, kept in (("conv1", {"conv1"}), ("relu1", {"relu1"}), ("conv2", {"conv2", "relu1"}), ("sum", {"sum", "conv2"})):
        walk.advance([tensor])
        assert set(walk.cache[0]) == kept
    walk.advance(["conv3"])
    assert all(np.array_equal(a["conv3"], b[0]) for a, b in zip(walk.cache, run(model, feeds, ["conv3"])))


def test_errors_of_integers_shapes_and_what_is_not_finite():
    assert squared_error(np.array([1, 2, 3]), np.array([1, 0, 0])) == (3, 2)
    assert squared_error(np.float32([3, np.nan]), np.float32([4, 7])) == (9, 1)
    assert squared_error(np.float32([1, 1]), np.float32([1, np.inf]))[1] > 1e200
    assert squared_error(np.float32([1, 1]), np.float32([1]))[1] > 1e200
    assert squared_error(np.array(["a"]), np.array(["b"])) == (0, 0)
