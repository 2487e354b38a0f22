"""Numbers in a file that lie: each ends in WEIGHTS_BROKEN, without the memory or the time that they ask for."""

import io
import resource
import struct
import tarfile
import zipfile

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (profile torch or current)")

from craft import FORMATS, archive, glob, number, one_tensor, save, state, tensor, text, wrap  # noqa: E402

from dopt.doors.torch.checkpoint import load_checkpoint, load_state_dict  # noqa: E402
from dopt.doors.torch.storages import check_view  # noqa: E402
from dopt.doors.torch.refusals import Broken  # noqa: E402
from dopt.errors import DoptError  # noqa: E402


def broken(path, code="WEIGHTS_BROKEN"):
    with pytest.raises(DoptError) as caught:
        load_checkpoint(path)
    error = caught.value
    assert error.code == code and path in error.message and error.suggestions, error.message
    return error.message


@pytest.mark.parametrize("form", FORMATS)
def test_the_hand_made_file_is_whole(tmp_path, form):
    """What the tests below damage is read when it is not damaged."""
    data = struct.pack("<6f", *range(6))
    assert load_state_dict(one_tensor(tmp_path / "w.pth", form, data))["w0"].tolist() == [[0, 1, 2], [3, 4, 5]]


VIEWS = {
    "reaches out by its shape": {"size": (3, 3)},
    "reaches out by its strides": {"stride": (4, 1)},
    "reaches out by its offset": {"offset": 1},
    "a negative offset": {"offset": -1},
    "a negative size": {"size": (-2, 3)},
    "two negative sizes": {"size": (-2, -3)},
    "a negative stride": {"stride": (3, -1)},
    "a huge size": {"size": (1 << 62, 3)},
    "a product that wraps around": {"size": (1 << 32, 1 << 32), "stride": (0, 0)},
    "a huge repetition": {"size": (1 << 30, 6), "stride": (0, 1)},
    "a huge stride": {"size": (1, 6), "stride": (1 << 63, 1)},
    "a wrapping stride": {"size": (2, 3), "stride": ((1 << 64) - 1, 1)},
    "a huge offset": {"offset": 1 << 64},
    "an enormous integer": {"offset": 1 << 1000},
    "fewer strides than sizes": {"stride": (1,)},
    "too many dimensions": {"size": (1,) * 65, "stride": (1,) * 65},
    "an empty view behind the end": {"size": (0, 3), "offset": 7},
    "a storage of another length": {"count": 7},
    "a negative storage": {"count": -6},
    "a huge storage": {"count": 1 << 40},
    "an enormous storage": {"count": 1 << 62},
    "a storage of another type": {"kind": "DoubleStorage"},
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", VIEWS)
def test_views(tmp_path, form, name):
    data = VIEWS[name]
    broken(one_tensor(tmp_path / "w.pth", form, **data))


@pytest.mark.parametrize("size,stride,offset", [((), (), 5), ((0,), (1,), 6), ((1 << 20,), (0,), 0), ((3, 2), (2, 1), 0)])
def test_views_within(size, stride, offset):
    assert check_view(6, offset, size, stride) == (list(size), list(stride), offset)


def test_views_of_wrong_types():
    for parts in [(True, (1,), (1,)), (0, (1.0,), (1,)), (0, "1", (1,)), (0, (1,), None), (None, (1,), (1,))]:
        with pytest.raises(Broken):
            check_view(6, *parts)


@pytest.mark.parametrize("form", FORMATS)
def test_storages(tmp_path, form):
    path = tmp_path / "w.pth"
    both = state(tensor(form=form), tensor("1", form=form))
    assert "'1'" in broken(wrap(path, both, form, [("0", 6, bytes(24))]))
    # The same storage, first of 6 and then of 5 elements.
    twice = state(tensor(form=form), tensor(count=5, size=(1,), stride=(1,), form=form))
    assert "at once" in broken(wrap(path, twice, form, [("0", 6, bytes(24))]))


def test_storages_that_together_do_not_fit(tmp_path):
    # Many storages that are each shorter than the file, and together are not.
    many = state(*(tensor(str(key), 2000, form="legacy") for key in range(200)))
    assert "does not fit" in broken(wrap(tmp_path / "w.pth", many, "legacy", []))


def test_legacy_storages(tmp_path):
    path = tmp_path / "w.pth"
    body = state(tensor(form="legacy"))
    assert "twice" in broken(wrap(path, body, "legacy", [("0", 6, bytes(24))] * 2))
    assert "twice" in broken(wrap(path, body, "legacy", [("9", 6, bytes(24))]))
    assert "has 5" in broken(wrap(path, body, "legacy", [("0", 5, bytes(24))]))
    assert "has -1" in broken(wrap(path, body, "legacy", [("0", -1, bytes(24))]))
    assert "ends at byte" in broken(wrap(path, body, "legacy", [("0", 6, bytes(23))]))
    assert "not in it" in broken(wrap(path, body, "legacy", []))


def test_zip_bomb(tmp_path):
    body = state(tensor(count=1 << 28, size=(1 << 28,), stride=(1,)))
    data = bytes(1 << 20)
    path = archive(tmp_path / "w.pth", {"data.pkl": body, "data/0": data}, compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in broken(path)


def patch_directory(path, name, offset, value):
    """Overwrites a field of the central directory's entry of a record, counted from the entry's beginning."""
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()))
    data[place + offset : place + offset + len(value)] = value
    path.write_bytes(bytes(data))


DIRECTORY = {
    "a larger size": (24, struct.pack("<I", 1 << 30)),
    "two larger sizes": (20, struct.pack("<II", 1 << 30, 1 << 30)),
    "a smaller size": (24, struct.pack("<I", 4)),
    "two smaller sizes": (20, struct.pack("<II", 4, 4)),
    "another place": (42, struct.pack("<I", 9)),
    "a place behind the end": (42, struct.pack("<I", 0xFFFFFFF0)),
    "a place in the middle": (42, struct.pack("<I", 33)),
    "a compression": (10, struct.pack("<H", 8)),
    "an encryption": (8, struct.pack("<H", 1)),
    "a name of other length": (28, struct.pack("<H", 3)),
    "a long name": (28, struct.pack("<H", 0xFFFF)),
    "no entry": (0, b"PK\x07\x07"),
}


@pytest.mark.parametrize("name", DIRECTORY)
@pytest.mark.parametrize("record", ["data.pkl", "data/0"])
def test_directory_that_lies(tmp_path, name, record):
    path = tmp_path / "w.pth"
    one_tensor(path, "zip")
    patch_directory(path, f"archive/{record}", *DIRECTORY[name])
    broken(str(path))


def test_overlapping_records(tmp_path):
    """Entries that share their bytes would make memory many times the file."""
    path = tmp_path / "w.pth"
    body = state(tensor("0"), tensor("1"))
    wrap(path, body, "zip", [("0", 6, bytes(24)), ("1", 6, bytes(24))])
    data = path.read_bytes()
    path.write_bytes(data)
    second = struct.pack("<I", data.index(b"PK\x03\x04", data.index(b"archive/data/0") - 40))
    patch_directory(path, "archive/data/1", 42, second)
    assert "another name" in broken(str(path))
    data = path.read_bytes()
    place = data.rindex(b"archive/data/1")
    path.write_bytes(data[:place] + b"archive/data/0" + data[place + 14 :])
    assert "two records" in broken(str(path))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_records(tmp_path):
    path = tmp_path / "w.pth"
    one_tensor(path, "zip")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/data/0", bytes(24))
    assert "two records" in broken(str(path))


def test_archives_of_other_things(tmp_path):
    path = tmp_path / "w.pth"
    assert "0 records" in broken(archive(path, {"readme.txt": b"hello"}))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", state())
        file.writestr("b/data.pkl", state())
    assert "2 records" in broken(str(path))
    assert "byte order" in broken(archive(path, {"data.pkl": state(), "byteorder": b"middle"}))


def test_a_large_archive(tmp_path):
    """zip64: the end record in 32 bits is full, and the one in 64 bits holds."""
    path = tmp_path / "w.pth"
    one_tensor(path, "zip", struct.pack("<6f", *range(6)))
    data = path.read_bytes()
    end = data.rindex(b"PK\x05\x06")
    count, length, start = struct.unpack_from("<HII", data, end + 10)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    full = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(data[:end] + end64 + locator + full)
    assert zipfile.ZipFile(path).namelist()
    assert load_state_dict(str(path))["w0"].tolist() == [[0, 1, 2], [3, 4, 5]]
    path.write_bytes(data[:end] + end64 + full)
    broken(str(path))


def nothing():
    return {
        "an empty stack": b"\x80\x02.",
        "two values": b"\x80\x02NN.",
        "no end": b"\x80\x02N",
        "an unknown instruction": b"\x80\x02\xff.",
        "a protocol to come": b"\x80\x09N.",
        "a memo without value": b"\x80\x02j\xff\xff\xff\x7f.",
        "a mark as a value": b"\x80\x02(.",
        "a mark in a tuple": b"\x80\x02N(\x86.",
        "items without a dict": b"\x80\x02N(K\x01K\x01u.",
        "items of a list": b"\x80\x02](K\x01K\x01u.",
        "an odd number of items": b"\x80\x02}(K\x01u.",
        "appending to a tuple": b"\x80\x02)K\x01a.",
        "a key that is a list": b"\x80\x02}]K\x01s.",
        "a key that is a tensor": b"\x80\x02}" + tensor() + b"K\x01s.",
        "a key that is a nested tuple": b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.",
        "a key that collides": b"\x80\x02}" + number((1 << 61) - 1) + b"K\x01s.",
        "a text longer than the file": b"\x80\x02X\xff\xff\xff\x7fabc.",
        "a very long text": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        "long bytes": b"\x80\x04\x8e\x00\x00\x00\x00\x01\x00\x00\x00abc.",
        "a long integer": b"\x80\x02\x8b\x00\x00\x00\x7fabc.",
        "a text that is not UTF-8": b"\x80\x02X\x02\x00\x00\x00\xc3\x28.",
        "half of a letter": b"\x80\x02X\x03\x00\x00\x00\xed\xa0\x80.",
        "a global without text": b"\x80\x04NN\x93.",
        "a call without a tuple": b"\x80\x02" + glob("torch", "Size") + b"]R.",
        "a call with too many arguments": b"\x80\x02" + glob("torch", "Size") + b"NNN\x87R.",
        "pairs that are none": b"\x80\x02" + glob("collections", "OrderedDict") + b"](K\x01K\x02e\x85R.",
        "a parameter of nothing": b"\x80\x02" + glob("torch._utils", "_rebuild_parameter") + b"N\x85R.",
        "a reference that is a number": b"\x80\x02K\x01Q.",
        "a storage without parts": b"\x80\x02(" + text("storage") + b"NtQ.",
        "a device with a path": b"\x80\x02" + glob("torch", "device") + text("/dev/zero") + b"\x85R.",
        "a number of the wrong length": b"\x80\x02" + glob("numpy.core.multiarray", "scalar")
        + glob("numpy", "dtype") + text("f8") + b"\x85RC\x01a\x86R.",
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", nothing())
def test_pickles_that_make_no_sense(tmp_path, form, name):
    broken(wrap(tmp_path / "w.pth", nothing()[name], form))


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


BOMBS = {
    "copies of a list": lambda: b"\x80\x02](" + (b"K\x01K\x02\x86" * 20_000) + b"eq\x00"
    + (glob("collections", "OrderedDict") + b"h\x00\x85R0") * 5_000 + b".",
    "a doubling list": lambda: b"\x80\x02]q\x00" + b"(h\x00h\x00eq\x000](h\x00h\x00e" * 100 + b".",
    "many objects": lambda: b"\x80\x02](" + b"]" * 3_000_000 + b"e.",
    "many tensors": lambda: b"\x80\x02](" + tensor(form="zip") + b"q\x01" + b"h\x01" * 1_500_000 + b"e.",
    "a large memo index": lambda: b"\x80\x02Nr\xff\xff\xff\xff.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_that_ask_for_much(tmp_path, name):
    path = wrap(tmp_path / "w.pth", BOMBS[name](), "zip", [("0", 6, bytes(24))])
    before = peak()
    broken(path, "WEIGHTS_EMPTY" if name in ("a doubling list", "many tensors", "a large memo index") else "WEIGHTS_BROKEN")
    assert peak() - before < 400e6


@pytest.mark.parametrize("name,opening,closing", [("lists", b"]", b"a"), ("tuples", b")", b"\x85")])
def test_deep_nesting(tmp_path, name, opening, closing):
    body = b"\x80\x02" + (opening * 200_000 + closing * 199_999 if name == "lists" else opening + closing * 200_000) + b"."
    broken(wrap(tmp_path / "w.pth", body, "zip"), "WEIGHTS_EMPTY")


def test_nesting_of_checkpoints(tmp_path):
    inner = {"w": torch.ones(1)}
    for _ in range(100):
        inner = {"model": inner}
    broken(save(inner, tmp_path / "w.pth"), "WEIGHTS_EMPTY")


OTHERS = {
    b"": ("WEIGHTS_BROKEN", "empty"),
    b"version https://git-lfs.github.com/spec/v1\n": ("WEIGHTS_FORMAT", "Git LFS"),
    b"<!DOCTYPE html>": ("WEIGHTS_FORMAT", "web page"),
    b"\x89HDF\r\n\x1a\n": ("WEIGHTS_FORMAT", "HDF5"),
    b"\x10\0\0\0\0\0\0\0{" + bytes(40): ("WEIGHTS_FORMAT", "safetensors"),
    b"\x08\x07\x12\x07pytorch": ("WEIGHTS_FORMAT", "no PyTorch file"),
    b"\x80\x02}q\x00.": ("WEIGHTS_FORMAT", "torch.save did not write"),
    b"PK\x03\x04": ("WEIGHTS_BROKEN", "without its end"),
}


@pytest.mark.parametrize("data", OTHERS)
def test_other_files(tmp_path, data):
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    code, found = OTHERS[data]
    assert found in broken(str(path), code)


def test_tar_format(tmp_path):
    path = tmp_path / "w.pth"
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as tar:
        for name in ("storages", "tensors", "pickle"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    assert "tar format" in broken(str(path), "WEIGHTS_FORMAT")


def test_no_file_and_no_tensors(tmp_path):
    broken(str(tmp_path / "none.pth"), "WEIGHTS_NOT_FOUND")
    broken(str(tmp_path), "WEIGHTS_UNREADABLE")
    assert "'epoch'" in broken(save({"epoch": 1}, tmp_path / "w.pth"), "WEIGHTS_EMPTY")
    assert "one Tensor" in broken(save(torch.ones(1), tmp_path / "w.pth"), "WEIGHTS_EMPTY")
