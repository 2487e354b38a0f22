"""Ordinary weights files come out as torch.load gives them, in both formats."""

import pickle
from collections import Counter, OrderedDict

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (profile torch or current)")
np = pytest.importorskip("numpy")

from craft import FORMATS, archive, save, trusted_load, wrap  # noqa: E402

from dopt.doors.torch.checkpoint import load_checkpoint, load_quantization, load_state_dict  # noqa: E402
from dopt.doors.torch.entry import attach
from dopt.errors import DoptError  # noqa: E402

TYPES = "float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128".split()
NEW_TYPES = [name for name in ("uint16", "uint32", "float8_e4m3fn", "float8_e5m2") if hasattr(torch, name)]


def same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        mine = found[name]
        assert (mine.dtype, mine.shape, mine.stride()) == (tensor.dtype, tensor.shape, tensor.stride()), name
        assert torch.equal(mine, tensor), name
        assert not mine.requires_grad


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_state_dict(tmp_path, form, protocol):
    path = save(network().state_dict(), tmp_path / "w.pth", form, pickle_protocol=protocol)
    found = load_state_dict(path)
    same(found, trusted_load(path))
    assert found._metadata["1"] == {"version": 2}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", TYPES + NEW_TYPES)
def test_types(tmp_path, form, dtype):
    torch.manual_seed(1)
    value = (torch.randn(5, 7) * 3).to(getattr(torch, dtype))
    saved = {"w": value, "empty": value[:0], "one": value[2, 3]}
    path = save(saved, tmp_path / "w.pth", form)
    # torch does not read the newer types back from its own older format.
    expected = saved if dtype in NEW_TYPES and form == "legacy" else trusted_load(path)
    found = load_state_dict(path)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert found[name].reshape(-1).view(torch.uint8).tolist() == tensor.reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("form", FORMATS)
def test_views_share_their_storage(tmp_path, form):
    base = torch.arange(24.0).reshape(4, 6)
    value = {
        "base": base,
        "transposed": base.t(),
        "rows": base[1:3],
        "steps": base[::2, 1::3],
        "expanded": base[:1].expand(5, 6),
        "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    path = save(value, tmp_path / "w.pth", form)
    found = load_state_dict(path)
    same(found, trusted_load(path))
    found["base"][1, 0] = -1
    assert found["transposed"][0, 1] == -1 and found["rows"][0, 0] == -1


@pytest.mark.parametrize("form", FORMATS)
def test_parameters_and_attributes(tmp_path, form):
    marked = torch.nn.Parameter(torch.ones(2))
    marked.group = "decay"
    tensor = torch.ones(3)
    tensor.group = "none"
    value = {"p": torch.nn.Parameter(torch.randn(3)), "marked": marked, "tensor": tensor}
    path = save(value, tmp_path / "w.pth", form)
    found, expected = load_state_dict(path), trusted_load(path)
    assert all(torch.equal(found[name], expected[name]) and type(found[name]) is torch.Tensor for name in expected)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("scheduler", ["StepLR", "MultiStepLR"])
def test_training_checkpoint(tmp_path, form, scheduler):
    net = network()
    optimizer = torch.optim.Adam(net.parameters())
    options = {"step_size": 2} if scheduler == "StepLR" else {"milestones": [2, 3]}
    schedule = getattr(torch.optim.lr_scheduler, scheduler)(optimizer, **options)
    net(torch.randn(2, 3, 3, 3)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 7,
        "arch": "net",
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
        "state_dict": net.state_dict(),
        "best": np.float32(91.5),
        "accuracy": np.float64(0.915),
        "steps": np.int64(-3),
        "done": np.bool_(True),
        "size": torch.Size([3, 32, 32]),
        "device": torch.device("cuda", 1),
        "dtype": torch.bfloat16,
        "seen": {1, 2},
        "counts": Counter("aab"),
    }
    if form == "zip":
        # A set is spelled as a call of builtins.set by protocol 2, and as an instruction of its own by 4.
        path = save(checkpoint, tmp_path / "w.pth", form, pickle_protocol=4)
    else:
        del checkpoint["seen"]
        path = save(checkpoint, tmp_path / "w.pth", form)
    checkpoint = load_checkpoint(path)
    same(checkpoint.state, trusted_load(path)["state_dict"])
    assert checkpoint.notes == [] and checkpoint.quantization is None


@pytest.mark.parametrize("form", FORMATS)
def test_numpy_numbers_beside_the_weights(tmp_path, form):
    best = {"a": np.float32(1.5), "b": np.array(2, ">i4")[()], "c": np.float16(-0.25), "d": np.uint64(2**63)}
    path = save({"state_dict": {"w": torch.ones(1)}, "best": best}, tmp_path / "w.pth", form)
    assert list(load_checkpoint(path).state) == ["w"]


QUANTIZATION = {"version": 1, "weights": {}, "inputs": {"0": {"scale": [0.5], "zero_point": [3], "bits": 8}}}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("wrapper", [(), ("state_dict",), ("model", "state_dict")])
def test_quantization_beside_the_weights(tmp_path, form, wrapper):
    state = torch.nn.Sequential(torch.nn.Linear(2, 2)).state_dict()
    attach(state, QUANTIZATION)
    value = state
    for key in reversed(wrapper):
        value = {key: value}
    path = save(value, tmp_path / "w.pth", form)
    checkpoint = load_checkpoint(path)
    assert checkpoint.quantization == QUANTIZATION and checkpoint.wrapper == wrapper
    # The user's own code loads the file as any other, strictly.
    loaded = trusted_load(path)
    for key in wrapper:
        loaded = loaded[key]
    torch.nn.Sequential(torch.nn.Linear(2, 2)).load_state_dict(loaded, strict=True)


def test_no_quantization_entry(tmp_path):
    assert load_quantization(save({"w": torch.ones(1)}, tmp_path / "w.pth")) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}'])
def test_quantization_of_another_form(tmp_path, text):
    state = torch.nn.Linear(2, 2).state_dict()
    attach(state, QUANTIZATION)
    state._metadata["dopt"]["quantization"] = text
    with pytest.raises(DoptError) as caught:
        load_quantization(save(state, tmp_path / "w.pth"))
    assert caught.value.code == "WEIGHTS_BROKEN" and "quantization" in caught.value.message


def test_big_endian(tmp_path):
    values = np.array([1.5, -2.25, 3e10], ">f4")
    ordinary = save({"w": torch.tensor([0.0, 0.0, 0.0])}, tmp_path / "w.pth")
    import zipfile

    with zipfile.ZipFile(ordinary) as file:
        root = file.namelist()[0].split("/")[0]
        body = file.read(f"{root}/data.pkl")
    records = {"data.pkl": body, "byteorder": b"big", "data/0": values.tobytes()}
    path = archive(tmp_path / "big.pth", records, root)
    assert load_state_dict(path)["w"].tolist() == values.tolist()


def test_python_2_pickle(tmp_path):
    """Python 2 writes names as byte strings and an OrderedDict with its items as arguments."""
    body = (
        b"\x80\x02ccollections\nOrderedDict\n]](U\x06weightctorch._utils\n_rebuild_tensor\n"
        b"((U\x07storagectorch\nFloatStorage\nU\x031f4U\x03cpuK\x02NtQK\x00(K\x02t(K\x01ttRea\x85R."
    )
    path = wrap(tmp_path / "w.pth", body, "legacy", [("1f4", 2, np.float32([1, 2]).tobytes())])
    assert load_state_dict(path)["weight"].tolist() == [1, 2]
    assert trusted_load(path)["weight"].tolist() == [1, 2]


def test_views_of_storages_in_the_oldest_files(tmp_path):
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x01aU\x03cpuK\x06(U\x01bK\x02K\x03ttQ"
    body = b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00(K\x03t(K\x01ttRs."
    path = wrap(tmp_path / "w.pth", body, "legacy", [("a", 6, np.arange(6, dtype=np.float32).tobytes())])
    assert load_state_dict(path)["w"].tolist() == [2, 3, 4]


def test_names_and_large_numbers(tmp_path):
    value = OrderedDict([("größe.重み", torch.ones(1)), ("x" * 300, torch.zeros(2))])
    path = save({"state_dict": value, "seed": 2**63 + 1, "rate": 1e-300}, tmp_path / "w.pth")
    same(load_state_dict(path), value)


def test_torchscript(tmp_path):
    net = network().eval()
    path = str(tmp_path / "net.pt")
    torch.jit.save(torch.jit.script(net), path)
    checkpoint = load_checkpoint(path)
    expected = net.state_dict()
    assert set(checkpoint.state) == set(expected)
    assert all(torch.equal(checkpoint.state[name], expected[name]) for name in expected)
    assert "TorchScript" in checkpoint.notes[0]


def test_torchscript_without_parameters(tmp_path):
    path = str(tmp_path / "net.pt")
    torch.jit.save(torch.jit.freeze(torch.jit.script(network().eval())), path)
    with pytest.raises(DoptError) as caught:
        load_state_dict(path)
    assert caught.value.code == "WEIGHTS_TORCHSCRIPT" and "as the model" in caught.value.suggestions[0]


def test_no_torch_load(monkeypatch, tmp_path):
    path = save({"w": torch.ones(1)}, tmp_path / "w.pth")

    def never(*_, **__):
        raise AssertionError("called")

    monkeypatch.setattr(torch, "load", never)
    monkeypatch.setattr(pickle, "Unpickler", never)
    monkeypatch.setattr(pickle, "loads", never)
    assert load_state_dict(path)["w"].tolist() == [1]
