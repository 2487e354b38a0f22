import io
import struct
import zipfile

import numpy as np
import pytest
from sources import data_source, error_of

from dopt.data.inputs import Rows, cast, split
from dopt.data.source import list_samples, open_source
from dopt.events import Events

RNG = np.random.default_rng(0)


def names(source):
    answer = list_samples({"source": source}, Events())
    return answer["kind"], answer["names"]


def arrays(source, name="x"):
    return [sample.feeds[name] for sample in open_source(source)]


def batch(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "shape, wanted, stacked, rows",
    [
        ((5, 3, 8, 8), ("N", 3, 8, 8), False, Rows(5, (1, 3, 8, 8))),
        ((5, 3, 8, 8), (1, 3, 8, 8), True, Rows(5, (1, 3, 8, 8))),
        ((6, 3, 8, 8), (2, 3, 8, 8), True, Rows(3, (2, 3, 8, 8))),
        ((5, 3, 8, 8), (2, 3, 8, 8), True, None),
        ((4, 1, 3, 8, 8), (1, 3, 8, 8), True, Rows(4, (1, 3, 8, 8))),
        ((3, 8, 8), (1, 3, None, "W"), False, Rows(1, (1, 3, 8, 8))),
        ((3, 8, 8), (2, 3, 8, 8), False, None),
        ((3, 8, 9), (1, 3, 8, 8), False, None),
        ((7, 10), (10,), True, Rows(7, (10,))),
        ((20,), (10,), True, Rows(2, (10,))),
        ((), (), False, Rows(1, ())),
        ((9,), (), True, Rows(9, ())),
        ((5, 6), None, False, Rows(1, (5, 6))),
        ((5, 6), None, True, Rows(5, (1, 6))),
    ],
)
def test_splitting(shape, wanted, stacked, rows):
    assert split(shape, wanted, stacked) == rows


@pytest.mark.parametrize("compressed", [False, True])
def test_folder_of_arrays(tmp_path, compressed):
    one, many, third = batch(3, 8, 8), batch(4, 3, 8, 8), batch(1, 3, 8, 8)
    np.save(tmp_path / "a.npy", one)
    (np.savez_compressed if compressed else np.savez)(tmp_path / "b.NPZ.npz", x=many)
    np.save(tmp_path / "c.npy", third)
    source = data_source(tmp_path, ("N", 3, 8, 8))
    assert names(source) == ("arrays", ["a.npy"] + [f"b.NPZ.npz#{row}" for row in range(4)] + ["c.npy"])
    np.testing.assert_array_equal(np.concatenate(arrays(source)), np.concatenate([one[None], many, third]))
    chosen = data_source(tmp_path, ("N", 3, 8, 8), indices=[3, 1, 5])
    np.testing.assert_array_equal(np.concatenate(arrays(chosen)), np.stack([many[2], many[0], third[0]]))


@pytest.mark.parametrize("kind", ["npy", "npz", "npz compressed", "npy fortran", "npz fortran", "npy big-endian", "npy v2"])
def test_stacked_samples(tmp_path, kind):
    values = batch(6, 3, 4, 5)
    stored = np.asfortranarray(values) if "fortran" in kind else values
    path = tmp_path / ("s." + kind[:3])
    if kind == "npy v2":
        with open(path, "wb") as file:
            np.lib.format.write_array(file, stored, (2, 0))
    elif kind[:3] == "npy":
        np.save(path, stored.astype(">f4") if "big" in kind else stored)
    else:
        (np.savez_compressed if "compressed" in kind else np.savez)(path, x=stored)
    source = data_source(path, (1, 3, 4, 5))
    assert names(source) == ("stacked", [f"s.{kind[:3]}#{row}" for row in range(6)])
    found = arrays(source)
    assert all(array.dtype == np.dtype("float32") and array.flags.c_contiguous for array in found)
    np.testing.assert_array_equal(np.concatenate(found), values)


def test_several_inputs(tmp_path):
    ids, mask = RNG.integers(0, 99, (4, 7)), np.ones((4, 7), np.int64)
    np.savez(tmp_path / "s.npz", ids=ids, mask=mask)
    inputs = {"mask": ("int64", ("N", "S")), "ids": ("int64", ("N", "S"))}
    samples = list(open_source(data_source(tmp_path / "s.npz", inputs=inputs)))
    assert len(samples) == 4 and list(samples[0].feeds) == ["mask", "ids"]
    np.testing.assert_array_equal(samples[2].feeds["ids"], ids[2:3])


def test_numpys_own_names_follow_the_order_of_the_inputs(tmp_path):
    first, second = batch(2, 3), batch(2, 4)
    np.savez(tmp_path / "s.npz", first, second)
    inputs = {"b": ("float32", (1, 3)), "a": ("float32", (1, 4))}
    sample = next(iter(open_source(data_source(tmp_path / "s.npz", inputs=inputs))))
    np.testing.assert_array_equal(sample.feeds["a"], second[:1])


def test_unknown_and_missing_names(tmp_path):
    inputs = {"input_ids": ("int64", (1, 3)), "mask": ("int64", (1, 3))}
    ones = np.ones((2, 3), np.int64)
    np.savez(tmp_path / "a.npz", inputids=ones, mask=ones)
    error = error_of(lambda: list(open_source(data_source(tmp_path, inputs=inputs))))
    assert error.code == "DATA_UNKNOWN_INPUT" and error.suggestions == ["Did you mean 'input_ids'?"]
    np.savez(tmp_path / "a.npz", mask=ones)
    error = error_of(lambda: list(open_source(data_source(tmp_path, inputs=inputs))))
    assert error.code == "DATA_MISSING_INPUT" and "'input_ids'" in error.message
    np.savez(tmp_path / "a.npz", mask=ones, input_ids=ones[:1])
    assert error_of(lambda: list(open_source(data_source(tmp_path, inputs=inputs)))).code == "DATA_ROWS_DIFFER"


def test_npy_and_bin_feed_one_input_only(tmp_path):
    inputs = {"a": ("float32", (1, 3)), "b": ("float32", (1, 3))}
    np.save(tmp_path / "s.npy", batch(2, 3))
    write_bin(tmp_path / "s.bin", 610, batch(2, 3))
    for name in ("s.npy", "s.bin"):
        error = error_of(lambda: list(open_source(data_source(tmp_path / name, inputs=inputs))))
        assert error.code == "DATA_MISSING_INPUT" and ".npz" in error.suggestions[0]


def test_shape_mismatch(tmp_path):
    np.save(tmp_path / "s.npy", batch(2, 8, 8, 3))
    error = error_of(lambda: list(open_source(data_source(tmp_path / "s.npy"))))
    assert error.code == "DATA_SHAPE" and "[1, 3, 8, 8]" in error.message and "[2, 8, 8, 3]" in error.message
    assert "transpose(0, 3, 1, 2)" in error.suggestions[0]


@pytest.mark.parametrize("value, word", [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_not_finite(tmp_path, value, word):
    values = batch(3, 3, 8, 8)
    values[1, 2, 0, 5] = value
    np.save(tmp_path / "s.npy", values)
    error = error_of(lambda: list(open_source(data_source(tmp_path / "s.npy"))))
    assert error.code == "DATA_NOT_FINITE" and "s.npy#1" in error.message and word in error.message and "133" in error.message
    opened = open_source(data_source(tmp_path / "s.npy", skip_bad=True))
    assert len(list(opened)) == 2 and opened.skipped[0]["file"] == "s.npy#1"


def test_a_finite_sum_that_overflows_is_finite_data(tmp_path):
    np.save(tmp_path / "s.npy", np.full((1, 2), 3e38, np.float32))
    assert len(arrays(data_source(tmp_path / "s.npy", (1, 2)))) == 1


def test_constant_and_identical_arrays(tmp_path):
    values = np.repeat(batch(1, 3, 8, 8), 4, axis=0)
    np.save(tmp_path / "s.npy", values)
    opened = open_source(data_source(tmp_path / "s.npy"))
    list(opened)
    assert opened.warnings == ["all 4 samples are identical; calibration needs different ones"]
    values[1:3] = 5
    np.save(tmp_path / "s.npy", values)
    list(opened := open_source(data_source(tmp_path / "s.npy")))
    assert opened.warnings == ["2 of 4 samples hold one single value throughout: s.npy#1, s.npy#2"]


@pytest.mark.parametrize(
    "values, wanted, fine",
    [
        (np.array([1.5, -2.0]), "float32", True),
        (np.array([1e39]), "float32", False),
        (np.array([np.nan]), "float32", True),
        (np.array([7e4], np.float32), "float16", False),
        (np.array([3, 250], np.uint8), "float32", True),
        (np.array([1.0, 2.0]), "int64", True),
        (np.array([1.5]), "int64", False),
        (np.array([np.nan]), "int32", False),
        (np.array([300]), "uint8", False),
        (np.array([-1]), "uint8", False),
        (np.array([0, 1]), "bool", True),
        (np.array([2]), "bool", False),
        (np.array([True]), "float32", True),
    ],
)
def test_cast_rules(values, wanted, fine):
    if fine:
        found = cast(values, wanted, "a", "x")
        assert found.dtype == np.dtype(wanted)
        np.testing.assert_array_equal(found.astype(values.dtype), values)
    else:
        assert error_of(lambda: cast(values, wanted, "a", "x")).code == "DATA_CAST"


def write_bin(path, magic, values):
    head = (510, *values.shape) if magic == 510 else (magic, values.ndim, *values.shape)
    path.write_bytes(struct.pack(f"<{len(head)}i", *head) + values.astype("<f4").tobytes())


@pytest.mark.parametrize("magic", [510, 610])
def test_bin(tmp_path, magic):
    values = batch(5, 3, 4, 6)
    write_bin(tmp_path / "s.bin", magic, values)
    source = data_source(tmp_path / "s.bin", ("N", 3, 4, 6))
    assert names(source) == ("bin", [f"s.bin#{row}" for row in range(5)])
    np.testing.assert_array_equal(np.concatenate(arrays(source)), values)


def test_bin_510_is_transposed_for_nhwc_and_610_never(tmp_path):
    values = batch(5, 3, 4, 6)
    write_bin(tmp_path / "a.bin", 510, values)
    found = arrays(data_source(tmp_path / "a.bin", (1, 4, 6, 3), layout="nhwc"))
    assert found[0].flags.c_contiguous
    np.testing.assert_array_equal(np.concatenate(found), values.transpose(0, 2, 3, 1))
    write_bin(tmp_path / "b.bin", 610, values)
    np.testing.assert_array_equal(
        np.concatenate(arrays(data_source(tmp_path / "b.bin", (1, 3, 4, 6), layout="nhwc"))), values
    )


def test_bin_misfit_names_the_layout_flag(tmp_path):
    write_bin(tmp_path / "a.bin", 510, batch(5, 3, 4, 6))
    error = error_of(lambda: arrays(data_source(tmp_path / "a.bin", (1, 4, 6, 3))))
    assert error.code == "DATA_SHAPE" and "--layout nhwc" in error.suggestions[0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        struct.pack("<5i", 511, 1, 1, 1, 1) + b"\0" * 4,
        struct.pack("<4i", 510, 1, 1, 1),
        struct.pack("<5i", 510, 1, 1, 1, 2) + b"\0" * 4,
        struct.pack("<5i", 510, 1, 1, 1, 1) + b"\0" * 5,
        struct.pack("<5i", 510, -1, -1, 1, 1) + b"\0" * 4,
        struct.pack("<2i", 610, 0),
        struct.pack("<2i", 610, 2**31 - 1),
        struct.pack("<3i", 610, 2, 1),
        struct.pack(">5i", 510, 1, 1, 1, 1) + b"\0" * 4,
    ],
)
def test_broken_bins(tmp_path, content):
    (tmp_path / "a.bin").write_bytes(content)
    assert error_of(lambda: arrays(data_source(tmp_path / "a.bin", (1, 1, 1, 1)))).code == "DATA_CORRUPT"


def npy_claiming(shape, data, dtype="<f4"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not numpy",
        b"\x93NUMPY\x09\x00\x10\x00" + b" " * 16,
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 16,
        b"\x93NUMPY\x01\x00\x10\x00((((((((((((((((",
        npy_claiming((2, 3), b"\0" * 20),
        npy_claiming((2, 3), b"\0" * 28),
        npy_claiming((2**62, 2**62), b"\0" * 24),
        npy_claiming((1, 1), b"\0" * 8, "|O"),
        npy_claiming((1, 1), b"\0" * 8, "<c8"),
        npy_claiming((1, 1), b"\0" * 4, "|S4"),
        npy_claiming((1, 1), b"\0" * 8, "<M8[s]"),
    ],
)
def test_broken_arrays(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    np.save(tmp_path / "b.npy", batch(1, 3))
    error = error_of(lambda: arrays(data_source(tmp_path, (1, 3))))
    assert error.code == "DATA_CORRUPT" and error.place == str(tmp_path / "a.npy")
    opened = open_source(data_source(tmp_path, (1, 3), skip_bad=True))
    assert [sample.name for sample in opened] == ["b.npy"] and opened.skipped[0]["file"] == "a.npy"


def test_arrays_without_elements(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 3), np.float32))
    assert error_of(lambda: arrays(data_source(tmp_path / "a.npy", ("N", 3)))).code == "DATA_EMPTY_ARRAY"
    (tmp_path / "a.npy").write_bytes(npy_claiming((10**12, 0), b""))
    assert error_of(lambda: arrays(data_source(tmp_path / "a.npy", ("N", 0)))).code == "DATA_EMPTY_ARRAY"


def test_zip_bomb(tmp_path):
    size = 1 << 22
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy_claiming((1, size), b"\0" * 4 * size)[: 4 * size])
    assert error_of(lambda: arrays(data_source(tmp_path / "a.npz", (1, None)))).code == "DATA_CORRUPT"
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", npy_claiming((1, 3), b"\0" * 12))
    assert "compressed" in error_of(lambda: arrays(data_source(tmp_path / "a.npz", (1, 3)))).message


def test_a_row_beyond_the_limit_is_refused_unread(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(npy_claiming((1, (1 << 28) + 1), b""))
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + 4 * ((1 << 28) + 1))
    assert error_of(lambda: arrays(data_source(path, (1, None)))).code == "DATA_TOO_LARGE"
