"""Networks go back: weights on the grid in the user's own layout, strictly loadable, equal to the quantized ONNX model."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

from doorway import Plan, capture, convert, model_params, user_file  # noqa: E402
from dopt.doors.torch import door  # noqa: E402
from dopt.doors.torch.checkpoint import load_checkpoint  # noqa: E402
from dopt.doors.torch.quantized import fake_quantizer, load_quantized  # noqa: E402
from dopt.errors import DoptError  # noqa: E402
from dopt.events import Events  # noqa: E402

CONV = "nn.Conv2d(3, 8, 3, padding=1, bias={bias})"
BODIES = {
    "batch normalization": ("nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)", (3, 8, 8)),
    "bias and batch normalization": ("nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()", (3, 8, 8)),
    "normalization without parameters": ("nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False)", (3, 8, 8)),
    "depthwise": ("nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.BatchNorm2d(4), nn.ReLU6(), nn.Conv2d(4, 6, 1)", (4, 8, 8)),
    "transposed": ("nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), nn.BatchNorm2d(6), nn.ReLU()", (4, 5, 5)),
    "linear": ("nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5)", (3, 2, 2)),
    "linear over three dimensions": ("nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)", (4, 6)),
    "square linear over three dimensions": ("nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6, bias=False)", (4, 6)),
}


def sequential(parts):
    return f"class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.body = nn.Sequential({parts})\n    def forward(self, x):\n        return self.body(x)\n"


def written(tmp_path, path, weights, shape, correct=None, batch=4, **more):
    """Converts, quantizes, lets ``correct`` change the plan, and writes back; (plan, path of the file, params, result)."""
    converted = convert(tmp_path, path, weights, {"x": [1, *shape]}, **more)
    float_onnx, graph = capture(tmp_path, converted)
    rng = np.random.default_rng(5)
    feeds = {"x": rng.standard_normal((batch, *shape)).astype(np.float32)}
    plan = Plan(tmp_path, float_onnx, graph, feeds)
    if correct:
        correct(plan)
    params = model_params(path, weights, {"x": [1, *shape]}, **more)
    borders = {"inputs": converted["inputs"], "outputs": converted["outputs"]}
    out = tmp_path / "written.pth"
    result = door.write_back(plan.params(params, borders, out), Events())
    return plan, out, {**params, "borders": borders}, result


@pytest.mark.parametrize("kind", BODIES)
def test_the_written_file_is_the_quantized_network(tmp_path, kind):
    parts, shape = BODIES[kind]
    path, weights, network = user_file(tmp_path, sequential(parts))
    plan, out, params, result = written(tmp_path, path, weights, shape)
    assert result["unmapped"] == [] and result["files"][0]["path"] == str(out)
    state = torch.load(str(out))
    assert list(state) == list(torch.load(weights))
    network.load_state_dict(state, strict=True)
    checkpoint = load_checkpoint(str(out))
    assert set(checkpoint.quantization["weights"]) == {name for name, each in state.items() if name.endswith("weight") and each.dim() > 1}
    load_quantized(network, str(out))
    feeds = {"x": np.random.default_rng(6).standard_normal((4, *shape)).astype(np.float32)}
    with torch.no_grad():
        found = network(torch.from_numpy(feeds["x"])).numpy()
    expected = plan.run(feeds, ["output"])[0]
    # What is left are values that float summation moves over a rounding border, a step of the grid each.
    close = np.isclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert close.mean() > 0.97 and np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_parameters_of_equal_numbers_stay_apart(tmp_path):
    parts = "nn.Conv2d(3, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3, bias=False), nn.BatchNorm2d(3)"
    path, weights, network = user_file(tmp_path, sequential(parts))
    for normalization in (network.body[1], network.body[4]):
        torch.nn.init.ones_(normalization.weight)
        torch.nn.init.zeros_(normalization.bias)
    torch.save(network.state_dict(), weights)

    def correct(plan):
        """Another bias correction for each layer."""
        for place, layer in enumerate(plan.layers):
            plan.numbers[layer["name"] + "/bias"] += np.float32(0.3 * (place + 1))

    plan, out, _, _ = written(tmp_path, path, weights, (3, 8, 8), correct)
    load_quantized(network, str(out))
    feeds = {"x": np.random.default_rng(6).standard_normal((4, 3, 8, 8)).astype(np.float32)}
    with torch.no_grad():
        found = network(torch.from_numpy(feeds["x"])).numpy()
    expected = plan.run(feeds, ["output"])[0]
    assert np.isclose(found, expected, atol=1e-4 * np.abs(expected).max()).mean() > 0.97


def test_the_same_bytes_again(tmp_path):
    path, weights, _ = user_file(tmp_path, sequential(BODIES["batch normalization"][0]))
    _, out, _, first = written(tmp_path, path, weights, (3, 8, 8))
    data = out.read_bytes()
    out.unlink()
    _, out, _, second = written(tmp_path, path, weights, (3, 8, 8))
    assert out.read_bytes() == data and first["files"][0]["sha256"] == second["files"][0]["sha256"]


def test_weights_lie_on_the_grid_and_their_normalization_is_the_identity(tmp_path):
    path, weights, network = user_file(tmp_path, sequential(BODIES["batch normalization"][0]))
    network.body[1].weight.data[2] = 0
    torch.save(network.state_dict(), weights)
    plan, out, _, _ = written(tmp_path, path, weights, (3, 8, 8))
    state, entry = torch.load(str(out)), load_checkpoint(str(out)).quantization["weights"]["body.0.weight"]
    integers = plan.numbers[plan.layers[0]["name"] + "/weight/integers"]
    assert np.array_equal(state["body.0.weight"], integers * np.float32(entry["scale"]).reshape(-1, 1, 1, 1))
    assert not entry["folded"]
    assert torch.equal(state["body.1.weight"], torch.ones(8)) and torch.equal(state["body.1.running_mean"], torch.zeros(8))
    assert torch.equal(state["body.1.running_var"] + torch.tensor(1e-5), torch.ones(8))
    network.load_state_dict(state)
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(network.body[1](x), x + state["body.1.bias"].reshape(1, -1, 1, 1))


SHARED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    def forward(self, x):
        return self.two(self.conv(torch.relu(self.one(self.conv(x)))))
"""


def test_a_weight_that_two_normalizations_share_keeps_them(tmp_path):
    path, weights, _ = user_file(tmp_path, SHARED)
    before = torch.load(weights)
    _, out, _, result = written(tmp_path, path, weights, (3, 8, 8))
    state = torch.load(str(out))
    assert torch.equal(state["one.weight"], before["one.weight"]) and torch.equal(state["two.weight"], before["two.weight"])
    assert any("used by several layers" in note for note in result["notes"])
    assert load_checkpoint(str(out)).quantization["weights"]["conv.weight"]["folded"]


def test_channels_that_a_shared_normalization_kills_keep_their_weights(tmp_path):
    path, weights, network = user_file(tmp_path, SHARED)
    network.one.weight.data[2] = 0
    torch.save(network.state_dict(), weights)
    _, out, _, _ = written(tmp_path, path, weights, (3, 8, 8))
    assert torch.equal(torch.load(str(out))["conv.weight"][2], network.conv.weight[2])


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_the_form_of_the_users_file_stays(tmp_path, wrapper):
    path, weights, network = user_file(tmp_path, sequential(BODIES["linear"][0]))
    named = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({wrapper: named, "epoch": 7}, weights)
    _, out, _, _ = written(tmp_path, path, weights, (3, 2, 2))
    loaded = torch.load(str(out))
    assert list(loaded) == [wrapper] and list(loaded[wrapper]) == list(named)


def test_weights_of_half_precision_come_back_in_single(tmp_path):
    path, weights, network = user_file(tmp_path, sequential(BODIES["batch normalization"][0]))
    torch.save(network.half().state_dict(), weights)
    network.float()
    plan, out, _, _ = written(tmp_path, path, weights, (3, 8, 8))
    state = torch.load(str(out))
    assert list(state) == list(network.state_dict()) and state["body.0.weight"].dtype == torch.float32
    load_quantized(network, str(out))


def test_names_that_the_class_changes_stay(tmp_path):
    source = sequential(BODIES["linear"][0]) + "    def load_state_dict(self, state, strict=True):\n        return super().load_state_dict({name.replace('old', 'body'): value for name, value in state.items()}, strict)\n"
    path, weights, network = user_file(tmp_path, source)
    torch.save({name.replace("body", "old"): value for name, value in network.state_dict().items()}, weights)
    _, out, params, _ = written(tmp_path, path, weights, (3, 2, 2))
    assert all(name.startswith("old.") for name in torch.load(str(out)))
    load_quantized(network, str(out))


FUNCTIONS = {
    "a bare weight": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 4))
    def forward(self, x):
        return torch.relu(x) @ self.w
""",
    "a convolution by function": """
class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4, 1))
    def forward(self, x):
        return F.conv1d(torch.tanh(x), self.weight)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scaled = Scaled()
    def forward(self, x):
        return self.scaled(x).relu()
""",
    "attention": """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj, self.norm = nn.Linear(6, 18), nn.Linear(6, 6), nn.LayerNorm(6)
    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return x + self.proj((q @ k.transpose(-2, -1) * 0.4).softmax(-1) @ v)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Attention(), Attention())
    def forward(self, x):
        return self.blocks(x)
""",
    "torch's attention module": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        nn.init.normal_(self.attention.in_proj_bias)
    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]
""",
    "copies of a fresh layer": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False) if NEW else nn.TransformerEncoder(layer, 2)
    def forward(self, x):
        return self.layers(x)
""".replace("NEW", str(hasattr(torch.nn, "RMSNorm"))),
    "a convolution that is used twice": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv1d(4, 4, 3, padding=1)
    def forward(self, x):
        return self.layer(F.relu(self.layer(x)) * 5)
""",
    "a linear layer that is used twice": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)
    def forward(self, x):
        return self.layer(F.relu(self.layer(x)) * 5)
""",
}


if hasattr(torch.nn.functional, "scaled_dot_product_attention"):
    FUNCTIONS["torch 2's fused attention"] = FUNCTIONS["attention"].replace(
        "(q @ k.transpose(-2, -1) * 0.4).softmax(-1) @ v", "F.scaled_dot_product_attention(q, k, v)"
    )


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_what_functions_multiply_is_rounded_too(tmp_path, kind):
    path, weights, network = user_file(tmp_path, FUNCTIONS[kind])
    # torch's attention module is exported with the batch that it was traced with.
    plan, out, params, result = written(tmp_path, path, weights, (4, 6), batch=1)
    assert result["unmapped"] == [] and load_checkpoint(str(out)).quantization["calls"]
    feeds = {"x": np.random.default_rng(6).standard_normal((1, 4, 6)).astype(np.float32)}
    load_quantized(network, str(out))
    with torch.no_grad():
        found = network(torch.from_numpy(feeds["x"])).numpy()
        # The functions are themselves again outside of the network.
        assert torch.equal(torch.matmul(torch.ones(2, 2) * 0.3, torch.ones(2, 2)), torch.full((2, 2), 0.6))
    expected = plan.run(feeds, ["output"])[0]
    close = np.isclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert close.mean() > 0.97 and np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_what_is_no_product_of_the_network_is_listed(tmp_path):
    source = "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.w = nn.Parameter(torch.randn(6, 4))\n    def forward(self, x):\n        return torch.ops.aten.matmul(x.tanh(), self.w)\n"
    path, weights, _ = user_file(tmp_path, source)
    _, out, _, result = written(tmp_path, path, weights, (3, 6))
    assert load_checkpoint(str(out)).quantization["weights"]
    assert len(result["unmapped"]) == 1 and "MatMul" in result["unmapped"][0]["reason"]


COMPUTED = "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.a = nn.Conv2d(3, 4, 3)\n        self.b = nn.Conv2d(4, 4, 1)\n    def forward(self, x):\n        return {0}F.conv2d(x, self.a.weight * 2 + 1){1}\n"


def test_a_weight_that_the_network_computes_is_listed(tmp_path):
    path, weights, network = user_file(tmp_path, COMPUTED.format("self.b(", ")"))
    _, out, _, result = written(tmp_path, path, weights, (3, 8, 8))
    assert len(result["unmapped"]) == 1 and "computes this weight" in result["unmapped"][0]["reason"]
    assert list(load_checkpoint(str(out)).quantization["weights"]) == ["b.weight"]
    assert torch.equal(torch.load(str(out))["a.weight"], network.a.weight)


def test_weights_that_the_network_computes_are_told_at_conversion(tmp_path):
    """Equalization leaves them alone: what another layer is divided by, they could not be multiplied by in the user's file."""
    path, weights, _ = user_file(tmp_path, COMPUTED.format("self.b(", ")"))
    (computed,) = convert(tmp_path, path, weights, {"x": [1, 3, 8, 8]})["computedWeights"]
    assert computed not in ("a.weight", "b.weight")
    path, weights, _ = user_file(tmp_path, COMPUTED.format("self.b(", ")").replace("F.conv2d(x, self.a.weight * 2 + 1)", "self.a(x)"))
    assert convert(tmp_path, path, weights, {"x": [1, 3, 8, 8]})["computedWeights"] == []


def test_a_network_without_a_weight_of_its_own_is_refused(tmp_path):
    path, weights, _ = user_file(tmp_path, COMPUTED.format("", ""))
    with pytest.raises(DoptError) as caught:
        written(tmp_path, path, weights, (3, 8, 8))
    assert caught.value.code == "WRITE_BACK_UNMAPPED" and caught.value.suggestions
    assert not (tmp_path / "written.pth").exists()


def test_torchscript_goes_back_as_torchscript(tmp_path):
    _, _, network = user_file(tmp_path, sequential(BODIES["linear"][0]))
    script = tmp_path / "script.pt"
    torch.jit.trace(network, torch.zeros(1, 3, 2, 2)).save(str(script))
    _, out, _, result = written(tmp_path, script, None, (3, 2, 2))
    assert len(result["unmapped"]) > 0
    state = torch.jit.load(str(out)).state_dict()
    integers = state["body.1.weight"] / state["body.1.weight"].abs().amax(1, keepdim=True) * 127
    assert torch.allclose(integers, integers.round(), atol=1e-3)


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (8, True), (16, True)])
def test_fake_quantizer_is_onnx_arithmetic(bits, signed):
    ort = pytest.importorskip("onnxruntime")
    if bits == 16:
        pytest.skip("onnxruntime before 1.17 has no 16-bit operators to compare with")
    from onnx import TensorProto, helper

    dtype = TensorProto.INT8 if signed else TensorProto.UINT8
    scale, zero = 0.037, 5 if signed else 131
    x = (np.random.default_rng(0).standard_normal(4000) * 4).astype(np.float32)
    x[:6] = [0.0185, 0.0555, -0.0185, 1e9, -1e9, 0]
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    constants = [helper.make_tensor("s", 1, [], [scale]), helper.make_tensor("z", dtype, [], [zero])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", 1, [None])], [value("y", 1, [None])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    expected = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    spec = {"scale": [scale], "zero_point": [zero], "bits": bits, "signed": signed, "axis": None}
    assert np.array_equal(fake_quantizer(spec)(torch.from_numpy(x)).numpy(), expected)
