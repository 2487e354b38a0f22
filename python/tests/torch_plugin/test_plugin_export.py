"""The exported integers are the trained ones: onnxruntime beside the forward pass, and the files beside the model."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import plugin_networks as networks
import pytest
import torch
from onnx import numpy_helper

import dopt.torch as plugin
from dopt.plugin import schema
from dopt.torch.check import compare
from dopt.torch.network import layers_in

CASES = {
    "Residual": "x:1,3,16,16",
    "Mobile": "x:1,3,32,32",
    "Branching": "x:1,3,12,12",
    "Transformer": "tokens:1,7",
}


def samples(network, shapes, count=6):
    shape = [int(size) for size in shapes.split(":")[1].split(",")]
    if isinstance(network, networks.Transformer):
        return [torch.randint(0, 11, shape) for _ in range(count)]
    return [torch.randn(shape) for _ in range(count)]


def converted(name, folder, **more):
    network = networks.lively(getattr(networks, name)())
    quantized = plugin.prepare(network, CASES[name], **more).eval()
    data = samples(network, CASES[name])
    plugin.calibrate(quantized, data)
    return quantized, plugin.convert(quantized, str(folder)), data


@pytest.mark.parametrize("strategy", ["Quant_INT8-8", "Quant_INT8-4"])
@pytest.mark.parametrize("name", CASES)
def test_the_exported_model_computes_with_the_integers_of_the_network(name, strategy, tmp_path):
    quantized, written, data = converted(name, tmp_path, strategies=strategy)
    found = compare(quantized, written.quantized, written.tensors, [(x,) for x in data])
    assert found.values > 1000 and found.beyond_ties == 0 and found.different <= found.values * 1e-4
    assert found.decisions == found.samples and found.largest < 0.05


def test_weights_and_biases_in_the_file_are_integers_of_their_width(tmp_path):
    quantized, written, _ = converted("Residual", tmp_path, strategies="Quant_INT8-4")
    model = onnx.load(written.quantized)
    weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    layers = [layer for layer in layers_in(quantized)]
    for layer in layers:
        stored = weights[f"{layer.path}/weight/quantized"]
        assert stored.dtype == np.int8 and np.abs(stored).max() <= 7
    # conv2 is called twice: its weight is written once for each call, its bias likewise.
    assert np.array_equal(weights["conv2/weight/quantized"], weights["conv2_1/weight/quantized"])
    assert weights["conv2/bias/quantized"].dtype == np.int32
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)


def test_sixteen_bit_activations_are_written_for_newer_runtimes(tmp_path):
    quantized, written, data = converted("Residual", tmp_path, strategies="Quant_INT16-8")
    assert written.quantized.endswith("Residual.int16.onnx")
    model = onnx.load(written.quantized)
    assert {node.domain for node in model.graph.node if node.op_type == "QuantizeLinear"} == {"com.microsoft"}
    found = compare(quantized, written.quantized, written.tensors, [(x,) for x in data])
    newer = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) >= (1, 17)
    assert (found is not None) == newer
    if found:
        assert found.beyond_ties == 0 and found.decisions == found.samples


def test_the_folder_reads_like_that_of_a_run(tmp_path):
    _, written, _ = converted("Mobile", tmp_path)
    schemas = Path(__file__).resolve().parents[3] / "schemas"
    for name, file in (("quant_params", "quant_params"), ("result", "result"), ("plan", "plan"), ("manifest", "manifest")):
        value = json.loads((tmp_path / f"{file}.json").read_text())
        faults = list(schema.faults(value, json.loads((schemas / f"{name}.json").read_text())))
        assert not faults, (name, faults)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["quantization"]["weights"] == 13 and "0 differ" in result["model"]["notes"][-1]
    params = json.loads(Path(written.parameters).read_text())
    assert {each["kind"] for each in params["tensors"]} == {"activation", "weight", "bias"}


def test_old_chips_have_one_scale_for_a_fully_connected_layer(tmp_path):
    quantized, written, data = converted("Residual", tmp_path, params_version="v1")
    params = {each["node"]: each for each in json.loads(Path(written.parameters).read_text())["tensors"] if each["kind"] == "weight"}
    assert params["fc"]["granularity"] == "tensor" and params["conv1"]["granularity"] == "channel"
    found = compare(quantized, written.quantized, written.tensors, [(x,) for x in data])
    assert found.beyond_ties == 0


@pytest.mark.parametrize("module", [torch.nn.Conv1d(3, 4, 3), torch.nn.Conv3d(3, 4, 3), torch.nn.ConvTranspose1d(4, 6, 3, 2, groups=2)])
def test_other_dimensions(module, tmp_path):
    network = torch.nn.Sequential(module, torch.nn.ReLU()).eval()
    channels = module.in_channels
    shape = (1, channels, *([7] * (module.weight.dim() - 2)))
    quantized = plugin.prepare(network, "x:" + ",".join(map(str, shape))).eval()
    data = [torch.randn(shape) for _ in range(4)]
    plugin.calibrate(quantized, data)
    written = plugin.convert(quantized, str(tmp_path))
    found = compare(quantized, written.quantized, written.tensors, [(x,) for x in data])
    assert found.beyond_ties == 0 and found.largest < 1e-4


def test_a_bias_too_large_for_its_grid_widens_the_weight_scale(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(4, 2))
    network[0].weight.data[0] = 1e-9
    network[0].bias.data[0] = 5.0
    quantized = plugin.prepare(network, "x:1,4").eval()
    data = [torch.rand(1, 4) for _ in range(4)]
    plugin.calibrate(quantized, data)
    written = plugin.convert(quantized, str(tmp_path))
    found = compare(quantized, written.quantized, written.tensors, [(x,) for x in data])
    assert found.largest < 1e-4
    assert torch.allclose(quantized(data[0]), network(data[0]), atol=0.02)
