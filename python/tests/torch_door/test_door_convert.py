"""Networks come in: found in the user's file, exported with names kept, compared on other inputs."""

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

from doorway import convert, user_file  # noqa: E402
from dopt.errors import DoptError  # noqa: E402

NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 4)
    def forward(self, x):
        out = F.relu(self.bn(self.conv(x)))
        out = F.avg_pool2d(out, out.size()[3])
        return self.fc(out.view(out.size(0), -1))
"""
SHAPE = {"x": [1, 3, 8, 8]}


def wrong(code, run):
    with pytest.raises(DoptError) as caught:
        run()
    assert caught.value.code == code, caught.value.message
    assert caught.value.suggestions
    return caught.value


def onnx_of(result):
    import onnx

    return onnx.load(result["model"])


def test_names_and_batch_normalization_stay_and_the_batch_is_open(tmp_path):
    path, weights, network = user_file(tmp_path, NET)
    result = convert(tmp_path, path, weights, SHAPE)
    graph = onnx_of(result).graph
    names = {each.name for each in graph.initializer}
    assert {name for name in network.state_dict() if "num_batches" not in name} <= names
    assert [node.op_type for node in graph.node].count("BatchNormalization") == 1
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert result["parity"]["samples"] == 4 and result["parity"]["maxRelativeDifference"] < 1e-4
    assert result["inputs"] == [{"name": "x", "frameworkName": "x"}] and result["outputs"][0]["name"] == "output"
    assert result["versions"]["torch"] == torch.__version__


TOKENS_AND_FEATURES = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.fc = nn.Embedding(50, 6), nn.Linear(10, 3)
    def forward(self, tokens, features):
        return self.fc(torch.cat([self.table(tokens).mean(1), features], 1))
"""


def test_each_input_has_a_type_of_its_own(tmp_path):
    from onnx import TensorProto

    path, weights, _ = user_file(tmp_path, TOKENS_AND_FEATURES)
    result = convert(tmp_path, path, weights, {"tokens": [1, 7], "features": [1, 4]})
    types = {each.name: each.type.tensor_type.elem_type for each in onnx_of(result).graph.input}
    assert types == {"tokens": TensorProto.INT64, "features": TensorProto.FLOAT}


@pytest.mark.parametrize(
    "body",
    [
        "self.a = nn.Conv2d(4, 6, 3, padding='same')|self.a(x)",
        "self.a = nn.Conv2d(4, 6, 4, padding='same')|self.a(x)",
        "self.a = nn.Conv2d(4, 6, 3, padding='valid')|self.a(x)",
        "self.a = nn.Conv1d(4, 6, 3, padding='same', dilation=2)|self.a(x.flatten(2))",
        "self.a = nn.PixelUnshuffle(2)|self.a(self.w(x))",
        "self.a = nn.ChannelShuffle(2)|self.a(self.w(x))",
        "self.a = nn.Linear(8, 8)|torch.argsort(self.a(x), dim=1).float()",
        "self.a = nn.AdaptiveAvgPool2d((3, 5))|self.a(self.w(x))",
        "self.a = nn.AdaptiveAvgPool2d(2)|self.a(self.w(x))",
        "self.a = nn.Identity()|F.interpolate(self.w(x), size=x.size()[2:], mode='bilinear') * x.shape[1]",
    ],
)
def test_constructs(tmp_path, body):
    make, call = body.split("|")
    source = f"class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.w = nn.Conv2d(4, 4, 1)\n        {make}\n    def forward(self, x):\n        return {call}\n"
    path, weights, _ = user_file(tmp_path, source)
    result = convert(tmp_path, path, weights, {"x": [1, 4, 8, 8]})
    assert result["parity"]["samples"] == 4


def test_torch_is_left_as_it_was(tmp_path):
    import torch.nn.functional as functional

    before = (torch.Tensor.size, functional.conv2d, functional.pixel_unshuffle, torch.argsort)
    path, weights, _ = user_file(tmp_path, NET)
    convert(tmp_path, path, weights, SHAPE)
    assert (torch.Tensor.size, functional.conv2d, functional.pixel_unshuffle, torch.argsort) == before
    assert isinstance(torch.zeros(2, 3).shape, torch.Size)


def test_a_branch_on_values_is_found(tmp_path):
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
    def forward(self, x):
        y = self.first(x)
        return self.second(y) if x.sum() > 0 else y - 1
"""
    path, weights, _ = user_file(tmp_path, source)
    error = wrong("PARITY_FAILED", lambda: convert(tmp_path, path, weights, {"x": [1, 4]}))
    assert "torch.where" in error.suggestions[0] and error.kind == "external"


def test_several_inputs_and_outputs_by_name(tmp_path):
    source = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(5, 3)
    def forward(self, left, right, scale=None):
        y = self.a(left) + self.b(right)
        return {"sum": y, "parts": (y * 2, y - 1)}
"""
    path, weights, _ = user_file(tmp_path, source)
    result = convert(tmp_path, path, weights, {"left": [1, 4], "right": [1, 5]})
    assert [each["name"] for each in result["inputs"]] == ["left", "right"]
    assert [each["name"] for each in result["outputs"]] == ["sum", "parts.0", "parts.1"] or len(result["outputs"]) == 3
    cut = convert(tmp_path, path, weights, {"left": [1, 4], "right": [1, 5]}, outputs=["sum"])
    assert [each["name"] for each in cut["outputs"]] == ["sum"]
    wrong("MODEL_OUTPUT", lambda: convert(tmp_path, path, weights, {"left": [1, 4], "right": [1, 5]}, outputs=["summ"]))


def test_token_numbers_as_input(tmp_path):
    source = "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.e = nn.Embedding(20, 8)\n    def forward(self, ids):\n        return self.e(ids).mean(1)\n"
    path, weights, _ = user_file(tmp_path, source)
    assert onnx_of(convert(tmp_path, path, weights, {"ids": [1, 6]})).graph.input[0].type.tensor_type.elem_type == 7


def test_input_shapes_that_do_not_fit(tmp_path):
    path, weights, _ = user_file(tmp_path, NET)
    missing = wrong("MODEL_INPUT_SHAPE", lambda: convert(tmp_path, path, weights, {}))
    assert 'x:1,3,224,224' in missing.suggestions[-1]
    # One argument and one shape belong together whatever the shape's name is.
    convert(tmp_path, path, weights, {"input": [1, 3, 8, 8]})
    wrong("MODEL_RUN_FAILED", lambda: convert(tmp_path, path, weights, {"x": [1, 5, 8, 8]}))


TWO = NET + NET.replace("Net", "Other") + "\ndef make(width=4):\n    return Net()\n"


def test_the_class_is_named_when_there_are_several(tmp_path):
    path, weights, _ = user_file(tmp_path, TWO)
    error = wrong("MODEL_CLASS", lambda: convert(tmp_path, path, weights, SHAPE))
    assert "Net" in error.message and "Other" in error.message and "--class" in error.suggestions[0]
    assert "Other" in wrong("MODEL_CLASS", lambda: convert(tmp_path, path, weights, SHAPE, className="Othr")).suggestions[0]
    for name in ("Net", "make"):
        assert convert(tmp_path, path, weights, SHAPE, className=name)["parity"]["samples"] == 4


def test_parts_of_a_network_are_no_candidates(tmp_path):
    source = NET.replace("class Net", "class Part") + "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.part = Part()\n    def forward(self, x):\n        return self.part(x)\n"
    path, weights, _ = user_file(tmp_path, source)
    assert convert(tmp_path, path, weights, SHAPE)["parity"]["samples"] == 4


def test_a_factory_when_no_class_can_be_made(tmp_path):
    source = NET.replace("def __init__(self):", "def __init__(self, depth):") + "def net8():\n    return Net(8)\n"
    path, weights, _ = user_file(tmp_path, source, "net8()")
    assert convert(tmp_path, path, weights, SHAPE)["parity"]["samples"] == 4
    error = wrong("MODEL_CONSTRUCTOR", lambda: convert(tmp_path, path, weights, SHAPE, className="Net"))
    assert "depth" in error.message and "def make()" in error.suggestions[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("raise ValueError('no data set here')", "no data set here"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("import no_such_package", "no_such_package"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_files_that_do_not_run(tmp_path, line, words):
    path, weights, _ = user_file(tmp_path, NET)
    with open(path, "a") as file:
        file.write("\n" + line + "\n")
    error = wrong("MODEL_PY_FAILED", lambda: convert(tmp_path, path, weights, SHAPE))
    assert words in error.message and error.place.startswith(path) and ":" in error.place[len(path) :]


@pytest.mark.parametrize("line", ["from .common import width", "from shapes.common import width"])
def test_a_file_of_a_package_imports_its_neighbours(tmp_path, line):
    package = tmp_path / "project" / "shapes"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "common.py").write_text("width = 8\n")
    path, weights, _ = user_file(tmp_path, NET)
    (package / "net.py").write_text(line + "\n" + (tmp_path / "net.py").read_text().replace("3, 8, 3", "3, width, 3"))
    before = list(sys.path), set(sys.modules)
    try:
        assert convert(tmp_path, package / "net.py", weights, SHAPE)["parity"]["samples"] == 4
    finally:
        sys.path[:] = before[0]
        for name in set(sys.modules) - before[1]:
            if name.startswith("shapes"):
                del sys.modules[name]


def test_a_file_without_networks(tmp_path):
    path, weights, _ = user_file(tmp_path, NET)
    (tmp_path / "empty.py").write_text("x = 1\n")
    assert "no torch.nn.Module" in wrong("MODEL_CLASS", lambda: convert(tmp_path, tmp_path / "empty.py", weights, SHAPE)).message


def test_weights_of_another_network(tmp_path):
    path, _, _ = user_file(tmp_path, NET)
    _, other, _ = user_file(tmp_path, NET.replace("8, 4", "8, 5"), name="other")
    wrong("WEIGHTS_MISMATCH", lambda: convert(tmp_path, path, other, SHAPE))


def test_torchscript(tmp_path):
    _, _, network = user_file(tmp_path, NET.replace("F.avg_pool2d(out, out.size()[3])", "out.mean((2, 3))"))
    script = tmp_path / "script.pt"
    torch.jit.trace(network, torch.zeros(1, 3, 8, 8)).save(str(script))
    result = convert(tmp_path, script, None, {"x": [1, 3, 8, 8]})
    assert result["parity"]["maxRelativeDifference"] < 1e-4
    script.write_bytes(script.read_bytes()[:400])
    wrong("MODEL_TORCHSCRIPT", lambda: convert(tmp_path, script, None, {"x": [1, 3, 8, 8]}))


FUSED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
    def forward(self, x):
        q, k, v = self.qkv(x).reshape(-1, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(-1, 5, 8))
"""
NEW = hasattr(torch.nn.functional, "scaled_dot_product_attention")


@pytest.mark.skipif(not NEW, reason="PyTorch before 2 has no fused attention")
def test_fused_attention_is_exported_as_products(tmp_path):
    path, weights, _ = user_file(tmp_path, FUSED)
    result = convert(tmp_path, path, weights, {"x": [1, 5, 8]})
    assert result["parity"]["maxRelativeDifference"] < 1e-4
    assert [node.op_type for node in onnx_of(result).graph.node].count("MatMul") == 4


@pytest.mark.skipif(not NEW, reason="PyTorch before 2 has no fused attention")
@pytest.mark.parametrize("more", [{}, {"is_causal": True}, {"scale": 0.3}, {"mask": "bool"}, {"mask": "float"}])
def test_products_are_torch_s_fused_attention(more):
    from dopt.doors.torch.patches import attention

    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, 4, 7, 8), torch.randn(2, 4, 7, 6)
    mask = more.pop("mask", None)
    if mask:
        more = {"attn_mask": torch.rand(5, 7) > 0.3 if mask == "bool" else torch.randn(5, 7)}
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, **more)
    assert torch.allclose(attention(q, k, v, **more), expected, atol=1e-5)


@pytest.mark.skipif(NEW, reason="this PyTorch is new enough")
@pytest.mark.parametrize(
    ("code", "source"),
    [
        ("MODEL_RUN_FAILED", FUSED),
        ("MODEL_PY_FAILED", NET + "\nfrom torch.nn.attention import sdpa_kernel\n"),
        ("MODEL_PY_FAILED", NET.replace("nn.Linear(8, 4)", "nn.RMSNorm(8)")),
    ],
)
def test_networks_of_a_newer_torch(tmp_path, code, source):
    path, weights, _ = user_file(tmp_path, NET)
    (tmp_path / "net.py").write_text((tmp_path / "net.py").read_text().replace(NET, source))
    if code == "MODEL_RUN_FAILED":
        weights = tmp_path / "other.pth"
        torch.save({f"{a}.{b}": torch.zeros((c, 8) if b == "weight" else c) for a, c in (("qkv", 24), ("proj", 8)) for b in ("weight", "bias")}, weights)
    error = wrong(code, lambda: convert(tmp_path, path, str(weights), {"x": [1, 5, 8]} if code == "MODEL_RUN_FAILED" else SHAPE))
    assert "--profile current" in error.suggestions[0]


def test_normalization_of_a_picture_without_contrast_is_no_difference(tmp_path):
    """One of the inputs that are compared is zero: behind it instance normalization divides rounding errors by themselves."""
    source = NET.replace("nn.BatchNorm2d(8)", "nn.InstanceNorm2d(8)").replace("padding=1, bias=False", "padding=1, padding_mode='reflect'")
    path, weights, _ = user_file(tmp_path, source.replace("F.relu(self.bn(self.conv(x)))", "self.bn(1000 * self.bn(self.conv(x)) ** 2)"))
    assert convert(tmp_path, path, weights, SHAPE)["parity"]["samples"] == 4


def test_faded_weights_are_zero(tmp_path):
    path, weights, network = user_file(tmp_path, NET)
    state = network.state_dict()
    state["conv.weight"][0] = 1e-39
    state["bn.running_mean"][0], state["bn.running_var"][0] = -1e-45, 1e-40
    torch.save(state, weights)
    result = convert(tmp_path, path, weights, SHAPE)
    values = {each.name: np.frombuffer(each.raw_data, np.float32) for each in onnx_of(result).graph.initializer}
    assert not values["conv.weight"][:27].any() and values["conv.weight"][27:].all()
    # What is divided by stays.
    assert values["bn.running_mean"][0] == 0 and values["bn.running_var"][0] == np.float32(1e-40)
    assert result["parity"]["maxRelativeDifference"] < 1e-4
    assert any(note.startswith("28 weights") for note in result["notes"])
