"""The safetensors reader and writer: round trips, layout, damage."""

import json

import numpy as np
import pytest

from dopt import safetensors
from dopt.errors import DoptError

DTYPES = ["f8", "i8", "u8", "f4", "i4", "u4", "f2", "i2", "u2", "i1", "u1", "?"]


def sample():
    rng = np.random.default_rng(0)
    tensors = {f"t{code}": (rng.standard_normal((3, 5)) * 50).astype(code) for code in DTYPES}
    return {**tensors, "scalar": np.array(1.5, np.float32), "empty": np.zeros((0, 4), np.int8), "naïve/ß": np.arange(7)}


def test_everything_comes_back(tmp_path):
    path = str(tmp_path / "a.safetensors")
    written = sample()
    entries = safetensors.write(path, written)
    read = safetensors.read(path)
    assert set(read) == set(written)
    for name, array in written.items():
        assert read[name].dtype == array.dtype and read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)
        assert entries[name] == safetensors.read_header(path)[name]


def test_layout_is_the_reference_layout(tmp_path):
    """Contiguous, aligned to the element size, data at a multiple of 64; the order of insertion does not matter."""
    first, second = tmp_path / "1", tmp_path / "2"
    tensors = sample()
    safetensors.write(str(first), tensors)
    safetensors.write(str(second), dict(reversed(list(tensors.items()))))
    data = first.read_bytes()
    assert data == second.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert (8 + length) % 64 == 0
    end = 0
    for name, entry in json.loads(data[8 : 8 + length]).items():
        start, stop = entry["data_offsets"]
        assert start == end and start % tensors[name].dtype.itemsize == 0
        end = stop
    assert 8 + length + end == len(data)


def test_big_endian_and_strided_arrays_are_written_little_endian(tmp_path):
    path = str(tmp_path / "a")
    array = np.arange(12, dtype=">i4").reshape(3, 4)
    safetensors.write(path, {"a": array, "b": array.T, "c": array[:, ::2]})
    read = safetensors.read(path)
    np.testing.assert_array_equal(read["a"], array)
    np.testing.assert_array_equal(read["b"], array.T)
    np.testing.assert_array_equal(read["c"], array[:, ::2])


def test_a_tensor_longer_than_one_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors, "CHUNK", 64)
    array = np.arange(1001, dtype=np.float32)
    safetensors.write(str(tmp_path / "a"), {"a": array})
    np.testing.assert_array_equal(safetensors.read(str(tmp_path / "a"))["a"], array)


def test_the_writer_insists_on_order_and_completeness(tmp_path):
    specs = {"a": safetensors.TensorSpec("F32", (2,)), "b": safetensors.TensorSpec("I8", (3,))}
    with pytest.raises(DoptError) as wrong, safetensors.Writer(str(tmp_path / "a"), specs) as writer:
        writer.put("b", np.zeros(3, np.int8))
    assert wrong.value.code == "TENSOR_ORDER" and wrong.value.kind == "bug"
    with pytest.raises(DoptError), safetensors.Writer(str(tmp_path / "a"), specs) as writer:
        writer.put("a", np.zeros(2, np.float32))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\1\0\0",
        (1 << 60).to_bytes(8, "little") + b"{}",
        (3).to_bytes(8, "little") + b"{]}",
        (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_files_that_are_no_safetensors(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DoptError) as error:
        safetensors.read(str(tmp_path / "a"))
    assert error.value.code == "TENSORS_BROKEN" and str(tmp_path / "a") in error.value.message


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        {"dtype": "F32", "shape": [-2, -1], "data_offsets": [0, 8]},
        {"dtype": "Q4", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]},
        {"dtype": "F32", "data_offsets": [0, 8]},
        7,
    ],
)
def test_entries_that_do_not_fit(tmp_path, entry):
    header = json.dumps({"a": entry}).encode()
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    with pytest.raises(DoptError) as error:
        safetensors.read(str(tmp_path / "a"))
    assert error.value.code == "TENSORS_BROKEN"


def test_disk_errors_name_the_path(tmp_path):
    with pytest.raises(DoptError) as error:
        safetensors.write(str(tmp_path / "no" / "folder"), {"a": np.zeros(1)})
    assert error.value.kind == "environment" and "no/folder" in error.value.message


def test_a_full_disk_is_an_environment_error():
    with pytest.raises(DoptError) as error:
        safetensors.write("/dev/full", {"a": np.zeros(100000)})
    assert error.value.code == "OUTPUT_WRITE" and "No space" in error.value.message
