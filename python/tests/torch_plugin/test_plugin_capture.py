"""What is captured of ordinary networks, what stays float and is named, and that capturing changes no result."""

import plugin_networks as networks
import pytest
import torch

import dopt.torch as plugin
from dopt.plugin.numbers import FloatLayer
from dopt.torch.network import float_mode, layers_in

CASES = {
    "Residual": ("x:2,3,16,16", {"conv1", "conv2", "up", "fc"}, {"conv1", "up"}),
    "Mobile": (
        "x:1,3,32,32",
        {"stem.0", "head.0", "classifier"}
        | {f"blocks.{n}.{part}" for n in (0, 1) for part in ("expand.0", "depthwise", "squeeze", "excite", "project.0")},
        {"stem.0", "head.0"} | {f"blocks.{n}.{part}" for n in (0, 1) for part in ("expand.0", "depthwise", "project.0")},
    ),
    "Branching": ("x:1,3,12,12", {"first.0", "gate.conv", "fc"}, {"first.0"}),
}


def example(shapes, network):
    shape = [int(size) for size in shapes.split(":")[1].split(",")]
    return torch.randint(0, 11, shape) if isinstance(network, networks.Transformer) else torch.randn(shape)


@pytest.mark.parametrize("name", CASES)
def test_layers_and_folded_normalizations(name):
    shapes, layers, folded = CASES[name]
    quantized = plugin.prepare(networks.lively(getattr(networks, name)()), shapes)
    assert {layer.path for layer in layers_in(quantized)} == layers
    assert {layer.path for layer in layers_in(quantized) if layer.norm is not None} == folded


@pytest.mark.parametrize("name", [*CASES, "Transformer"])
def test_without_rounding_nothing_changes(name):
    network = networks.lively(getattr(networks, name)())
    shapes = CASES[name][0] if name in CASES else "tokens:2,7"
    x = example(shapes, network)
    quantized = plugin.prepare(network, shapes).eval()
    with torch.no_grad(), float_mode(quantized):
        assert torch.allclose(quantized(x), network(x), atol=2e-5)


def test_products_of_attention_are_quantized_both_ways():
    quantized = plugin.prepare(networks.Transformer().eval(), "tokens:2,7")
    found = plugin.layers(quantized)
    assert sum(kind == "product" for kind in found.values()) == 4
    assert {"attention.in_proj", "attention.out_proj", "qkv", "out"} <= set(found)
    assert not any(isinstance(kind, FloatLayer) for kind in found.values())
    fixed = [quantizer.name for quantizer in quantized.input_quantizers.values() if quantizer.fixed]
    assert len(fixed) == 2  # softmax


def test_tensors_that_several_layers_read_share_a_quantizer():
    quantized = plugin.prepare(networks.Mobile().eval(), "x:1,3,32,32")
    assert len(quantized.input_quantizers) == len(layers_in(quantized))
    wide = plugin.prepare(Shared().eval(), "x:1,4", {"*": "Quant_INT8-8", "c": "Quant_INT16-8"})
    grids = {layer.path: layer.quantizer for layer in layers_in(wide)}
    assert grids["a"] is grids["b"] and grids["a"] is not grids["c"] and len(wide.input_quantizers) == 2


class Shared(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (torch.nn.Linear(4, 4) for _ in range(3))

    def forward(self, x, scale=None):
        return self.a(x) + self.b(x) + (self.c(x) if scale is None else scale)


def test_what_cannot_be_captured_is_named_with_the_reason():
    found = plugin.layers(plugin.prepare(networks.Branching().eval(), "x:1,3,12,12"))
    assert isinstance(found["gate"], FloatLayer) and "cannot be captured" in found["gate"].reason
    assert found["gate.conv"] == "int8-8"


def test_a_network_that_cannot_be_captured_at_all_is_quantized_layer_by_layer():
    network = networks.Gate().eval()
    quantized = plugin.prepare(network, "x:1,8,9,9").eval()
    assert [layer.path for layer in layers_in(quantized)] == ["conv"]
    x = torch.rand(1, 8, 9, 9)
    plugin.calibrate(quantized, [x])
    with torch.no_grad():
        assert 0 < (quantized(x) - network(x)).abs().max() < 0.05


def test_dropout_follows_the_mode():
    quantized = plugin.prepare(networks.Residual().eval(), "x:2,3,16,16")
    assert any(isinstance(module, torch.nn.Dropout) for module in quantized.modules())


class Modal(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)
        self.auxiliary = torch.nn.Linear(4, 4)

    def forward(self, x):
        y = self.fc(x)
        return (y, self.auxiliary(x)) if self.training else y


def test_a_program_that_differs_in_training_keeps_differing():
    quantized = plugin.prepare(Modal().eval(), "x:1,4")
    x = torch.rand(3, 4)
    assert isinstance(quantized.train()(x), tuple) and isinstance(quantized.eval()(x), torch.Tensor)
    assert "in training" in plugin.layers(quantized)["Modal"].reason


def test_functions_without_a_quantized_form_are_named():
    class Product(torch.nn.Module):
        def forward(self, x):
            return torch.einsum("bi,bj->bij", x, x)

    found = plugin.layers(plugin.prepare(Product(), "x:1,4"))
    assert found["einsum"].op_type == "einsum"
