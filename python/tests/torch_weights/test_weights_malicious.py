"""Files that would run something when unpickled are refused by name, and nothing runs.

Each attack leaves a marker file when it succeeds; ``test_attacks_are_live`` shows that it does with the standard reader.
"""

import argparse
import importlib
import os
import pickle
import subprocess

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (profile torch or current)")

from craft import FORMATS, glob, numbers, save, state, tensor, text, trusted_load, wrap  # noqa: E402

from dopt.doors.torch.checkpoint import load_checkpoint  # noqa: E402
from dopt.errors import DoptError  # noqa: E402


class Call:
    """Pickles as a call of a function, which may itself be what another call gives."""

    def __init__(self, function, *arguments):
        self.parts = (function, arguments)

    def __reduce__(self):
        return self.parts

    def __call__(self):
        raise NotImplementedError("only pickled")


ATTACKS = {
    "os.system": lambda marker, write: Call(os.system, f"touch {marker}"),
    "builtins.eval": lambda marker, write: Call(eval, write),
    "builtins.exec": lambda marker, write: Call(exec, write),
    "io.open": lambda marker, write: Call(open, marker, "w"),
    "subprocess.Popen": lambda marker, write: Call(subprocess.Popen, ["touch", marker]),
    "builtins.getattr": lambda marker, write: Call(
        Call(getattr, Call(importlib.import_module, "os"), "system"), f"touch {marker}"
    ),
    "builtins.list": lambda marker, write: Call(list, Call(map, eval, [write])),
    "torch.serialization.load": lambda marker, write: Call(torch.load, Call(open, marker, "w+b")),
}


def attack(name, marker):
    return ATTACKS[name](marker, f"__import__('os').close(__import__('os').open({marker!r}, 64))")


@pytest.fixture
def marker(tmp_path):
    return str(tmp_path / "marker")


def refusal(path, code="WEIGHTS_REFUSED"):
    with pytest.raises(DoptError) as caught:
        load_checkpoint(path)
    error = caught.value
    assert error.code == code and path in error.message and error.suggestions and error.place == path, error.message
    return error


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_calls_are_refused(tmp_path, marker, form, name, protocol):
    value = {"state_dict": {"w": torch.ones(2)}, "x": attack(name, marker)}
    path = save(value, tmp_path / "w.pth", form, pickle_protocol=protocol)
    error = refusal(path)
    assert f"'{name}'" in error.message
    assert not os.path.exists(marker)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_live(tmp_path, marker, form, name):
    path = save({"x": attack(name, marker)}, tmp_path / "w.pth", form)
    try:
        value = trusted_load(path)
    except EOFError:  # The nested torch.load fails on the empty file that it opened.
        value = {}
    if isinstance(value.get("x"), subprocess.Popen):
        value["x"].wait()
    assert os.path.exists(marker)


@pytest.mark.parametrize("name", ATTACKS)
def test_plain_pickles_are_refused(tmp_path, marker, name):
    path = str(tmp_path / "w.pth")
    with open(path, "wb") as file:
        pickle.dump(attack(name, marker), file, 2)
    assert f"'{name}'" in refusal(path).message
    assert not os.path.exists(marker)


def opcodes(marker):
    """Attacks that no pickler writes: name -> (pickle, what the message names)."""
    command = text(f"touch {marker}")
    size = glob("torch", "Size") + b"(K\x02t\x85R"
    hooks = glob("collections", "OrderedDict") + b")R"
    return {
        "inst": (b"\x80\x02(" + command + b"ios\nsystem\n.", "os.system"),
        "obj": (b"\x80\x02(" + glob("os", "system") + command + b"o.", "os.system"),
        "obj of an allowed global": (b"\x80\x02(" + glob("torch", "Size") + command + b"o.", "instruction OBJ"),
        "newobj": (b"\x80\x02" + glob("os", "system") + command + b"\x85\x81.", "os.system"),
        "newobj_ex": (b"\x80\x04" + glob("torch", "Size") + b")}\x92.", "instruction NEWOBJ_EX"),
        "stack_global": (b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + command + b"\x85R.", "os.system"),
        "a dotted name": (b"\x80\x04\x8c\x05torch\x8c\x0cSize.mro.__x\x93.", "torch.Size.mro.__x"),
        "a dotted module": (b"\x80\x02" + glob("torch.os", "system") + command + b"\x85R.", "torch.os.system"),
        "another place of an allowed name": (b"\x80\x02" + glob("os", "Size") + b")R.", "os.Size"),
        "a storage as a class": (b"\x80\x02" + glob("torch", "FloatStorage") + command + b"\x85R.", "call of a StorageType"),
        "a tensor as a function": (state(tensor() + command + b"\x85R"), "call of a Tensor"),
        "text as a function": (b"\x80\x02" + command + command + b"\x85R.", "call of a str"),
        "ext1": (b"\x80\x02\x82\x01.", "registry of extensions"),
        "ext4": (b"\x80\x02\x84\x01\x00\x00\x00.", "registry of extensions"),
        "setstate of a tensor": (state(tensor() + b"}b"), "state of a Tensor"),
        "setstate of a dict": (
            b"\x80\x02}" + text("__setstate__") + glob("torch", "Size") + b"s" + command + b"b.",
            "state of a dict",
        ),
        "setstate of a size": (b"\x80\x02" + size + b"}b.", "state of a tuple"),
        "setstate of a function": (
            b"\x80\x02" + glob("torch", "Size") + b"N}" + text("__code__") + b"Ns\x86b.",
            "state of a global",
        ),
        "persistent id of a module": (b"\x80\x02(" + text("module") + b"NNNtQ.", "persistent id 'module'"),
        "persistent id of a command": (b"\x80\x02(" + command + b"tQ.", "persistent id 'touch"),
        "text persistent id": (b"\x80\x02P0\n.", "instruction PERSID"),
        "codec": (b"\x80\x02" + glob("_codecs", "encode") + command + text("rot13") + b"\x86R.", "_codecs.encode"),
        "numpy object type": (b"\x80\x02" + glob("numpy", "dtype") + text("O8") + b"\x85R.", "numpy.dtype('O8')"),
        "numpy array": (b"\x80\x02" + glob("numpy.core.multiarray", "_reconstruct") + b")R.", "_reconstruct"),
        "sparse": (b"\x80\x02" + glob("torch._utils", "_rebuild_sparse_tensor") + b")R.", "_rebuild_sparse_tensor"),
        "quantized": (b"\x80\x02" + glob("torch._utils", "_rebuild_qtensor") + b")R.", "_rebuild_qtensor"),
        "text opcodes": (b"\x80\x02I" + b"9" * 5_000_000 + b"\n.", "instruction INT"),
        "text opcodes of longs": (b"\x80\x02L" + b"9" * 5_000_000 + b"L\n.", "instruction LONG"),
        "out of band": (b"\x80\x05\x97.", "instruction NEXT_BUFFER"),
        "conjugated": (
            b"\x80\x02" + glob("torch._utils", "_rebuild_tensor_v2") + b"((" + text("storage") + glob("torch", "FloatStorage")
            + text("0") + text("cpu") + b"K\x06tQK\x00" + numbers([1]) + numbers([1]) + b"\x89" + hooks + b"}" + text("conj")
            + b"\x88stR.",
            "conjugation",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", opcodes(""))
def test_hand_made_pickles_are_refused(tmp_path, marker, form, name):
    body, named = opcodes(marker)[name]
    if form == "legacy":
        body = body.replace(b"K\x06tQ", b"K\x06NtQ").replace(b"\x8a\x01\x06tQ", b"\x8a\x01\x06NtQ")
    path = wrap(tmp_path / "w.pth", body, form, [("0", 6, bytes(24))])
    assert named in refusal(path).message
    assert not os.path.exists(marker)


@pytest.mark.parametrize("form", FORMATS)
def test_state_of_an_ordered_dict_sets_no_attributes(tmp_path, form):
    """Only the module versions are kept: an attribute 'items' or '__class__' would shadow methods."""
    hooks = glob("collections", "OrderedDict") + b")R"
    body = b"\x80\x02" + hooks + text("w") + tensor(form=form) + b"s"
    body += b"}(" + text("items") + b"K\x01" + text("_metadata") + b"}(" + text("") + b"}" + text("version") + b"K\x02s"
    body += text("evil") + b"K\x03" + b"u" + b"ub."
    path = wrap(tmp_path / "w.pth", body, form, [("0", 6, bytes(24))])
    state_dict = load_checkpoint(path).state
    assert list(state_dict.items())[0][0] == "w" and state_dict._metadata == {"": {"version": 2}}


@pytest.mark.parametrize("form", FORMATS)
def test_second_pickle_of_a_legacy_file(tmp_path, marker, form):
    """Calls hidden in the parts around the object: the machine's description, the list of storages."""
    if form == "zip":
        path = save({"w": torch.ones(1)}, tmp_path / "w.pth", form)
        import zipfile

        with zipfile.ZipFile(path, "a") as file:
            file.writestr("w/extra.pkl", pickle.dumps(attack("os.system", marker)))
        load_checkpoint(path)
    else:
        from dopt.doors.torch.legacy import MAGIC

        evil = pickle.dumps(attack("os.system", marker), 2)
        for place in range(5):
            parts = [pickle.dumps(part, 2) for part in (MAGIC, 1001, {}, {}, [])]
            parts[place] = evil
            path = str(tmp_path / f"w{place}.pth")
            with open(path, "wb") as file:
                file.write(b"".join(parts))
            assert "'os.system'" in refusal(path).message
    assert not os.path.exists(marker)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_whole_modules(tmp_path, form, wrapped):
    net = Net()
    path = save({"epoch": 3, "model": net} if wrapped else net, tmp_path / "net.pth", form)
    error = refusal(path, "WEIGHTS_WHOLE_MODULE")
    assert "Net" in error.message and "torch.save(model.state_dict(), 'net-weights.pth')" in error.suggestions[0]


@pytest.mark.parametrize("form", FORMATS)
def test_options_of_a_training_script(tmp_path, form):
    path = save({"state_dict": {"w": torch.ones(1)}, "args": argparse.Namespace(lr=0.1)}, tmp_path / "w.pth", form)
    error = refusal(path)
    assert "'argparse.Namespace'" in error.message and "torch.save(checkpoint['state_dict']" in error.suggestions[0]


def test_quantized_and_sparse_tensors(tmp_path):
    quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    assert "float weights" in refusal(save({"w": quantized}, tmp_path / "q.pth")).suggestions[0]
    assert "to_dense" in refusal(save({"w": torch.eye(2).to_sparse()}, tmp_path / "s.pth")).suggestions[0]
