"""Refinement and analysis with parts of networks run by PyTorch: answers as with onnxruntime."""

import pytest
from test_refine import layer, samples, walk  # noqa: F401 - a fixture
from test_sensitivity import GRID, activation, network, scene  # noqa: F401 - a fixture

from dopt.events import Events
from dopt.execute.refine import refine
from dopt.execute.sensitivity import compare_samples


def on(gpu):
    return {"executor": {"kind": "torch", "gpu": gpu}}


def test_layers_are_refined_on_a_device_as_on_the_processor(tmp_path, samples, gpu):  # noqa: F811
    candidates = [{"scale": scale, "zeroPoint": 0} for scale in (2.0, 0.001, 0.02)]
    choice = {"tensor": "relu1/dequantized", "quantizer": "relu1", "shared": [], "dtype": "uint8", "candidates": candidates}
    params, plain = walk(tmp_path, samples[0], [layer("conv1"), layer("conv2", choice), layer("conv3")])
    found = refine({**params, **on(gpu)}, Events())
    for one, other in zip(plain["layers"], found["layers"]):
        assert one["chosen"] == other["chosen"] and other["errorAfter"] <= other["errorBefore"]
        for key in ("errorBefore", "errorAfter", "power", "candidateErrors"):
            assert other[key] == pytest.approx(one[key], rel=1e-3), key


def test_quantizers_are_judged_on_a_device_as_on_the_processor(scene, gpu):  # noqa: F811
    folder, model, _, source, call = scene
    quantized = network(folder / "quantized.onnx", {"x", "relu1", "sum"})
    probes = [activation(tensor, [GRID, None], watch=[watched]) for tensor, watched in (("x", "conv1"), ("sum", "conv3"))]
    one, other = (call(probes=probes, quantized=quantized, **more) for more in ({}, on(gpu)))
    for mine, theirs in zip(one["probes"], other["probes"]):
        assert theirs["accumulated"] == pytest.approx(mine["accumulated"], rel=1e-3)
        for expected, found in zip(mine["alternatives"], theirs["alternatives"]):
            assert found["noise"] == pytest.approx(expected["noise"], rel=1e-3, abs=1e-9)
    shared = {"reference": model, "model": quantized, "source": source, "threads": 1}
    noises = [[each["noise"] for each in compare_samples({**shared, **more}, Events())["samples"]] for more in ({}, on(gpu))]
    for mine, theirs in zip(*noises):
        assert theirs == pytest.approx(mine, rel=1e-3)
