import struct

import numpy as np
import pytest
from sources import PREPROCESS, data_source, error_of, picture

from dopt.data.source import list_samples, open_source
from dopt.events import Events

INPUTS = {"image": ("float32", ("N", 3, 4, 6)), "extra": ("float32", ("N", 5))}


def write_bin(path, array, magic=610):
    header = (510,) + array.shape if magic == 510 else (610, array.ndim) + array.shape
    path.write_bytes(struct.pack(f"<{len(header)}i", *header) + array.astype("<f4").tobytes())
    return path


def parts_source(*parts, inputs=INPUTS, **more):
    listed = [
        {"input": name, "path": str(path), "preprocess": {**PREPROCESS, **preprocess}}
        for name, path, preprocess in parts
    ]
    return {**data_source(parts[0][1], inputs=inputs, **more), "parts": listed}


def listing(source):
    return list_samples({"source": source}, Events())


def samples(source):
    return list(open_source(source))


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_each_sample_is_made_of_one_of_every_part(tmp_path):
    pixels = [picture(tmp_path / "p" / f"{name}.png", 4, 6, seed) for seed, name in enumerate("abc")]
    extra = array(3, 5)
    source = parts_source(
        ("extra", write_bin(tmp_path / "e.bin", extra), {}), ("image", tmp_path / "p", {"color": "bgr", "std": 2})
    )
    assert listing(source)["kind"] == "parts"
    assert listing(source)["names"] == ["a.png, e.bin#0", "b.png, e.bin#1", "c.png, e.bin#2"]
    for index, sample in enumerate(samples(dict(source, indices=[0, 1, 2]))):
        assert list(sample.feeds) == ["image", "extra"]
        np.testing.assert_array_equal(sample.feeds["extra"], extra[index : index + 1])
        wanted = pixels[index][:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 2
        np.testing.assert_array_equal(sample.feeds["image"], wanted)
        assert sample.original_size == (4, 6)
    assert [sample.name for sample in samples(dict(source, indices=[2]))] == ["c.png, e.bin#2"]


def test_510_and_610_hold_the_same_samples(tmp_path):
    values = array(3, 3, 4, 6)
    inputs = {"image": INPUTS["image"]}
    paths = [write_bin(tmp_path / f"{magic}.bin", values, magic) for magic in (510, 610)]
    for path in paths:
        feeds = [sample.feeds["image"] for sample in samples(parts_source(("image", path, {}), inputs=inputs))]
        np.testing.assert_array_equal(np.concatenate(feeds), values)


def test_nhwc_transposes_510_and_never_610(tmp_path):
    values = array(2, 3, 4, 6)
    inputs = {"image": ("float32", (1, 4, 6, 3))}
    nhwc = {"layout": "nhwc"}
    found = samples(parts_source(("image", write_bin(tmp_path / "a.bin", values, 510), nhwc), inputs=inputs))
    np.testing.assert_array_equal(
        np.concatenate([sample.feeds["image"] for sample in found]), values.transpose(0, 2, 3, 1)
    )
    source = parts_source(("image", write_bin(tmp_path / "b.bin", values, 610), nhwc), inputs=inputs)
    assert error_of(lambda: samples(source)).code == "DATA_SHAPE"


def test_subfolders_and_hidden_files_are_left_out(tmp_path):
    for name in ("b.png", "a.PNG", ".hidden.png", "deeper/c.png"):
        picture(tmp_path / name, 4, 6)
    (tmp_path / "notes.txt").write_text("")
    inputs = {"image": INPUTS["image"]}
    assert listing(parts_source(("image", tmp_path, {}), inputs=inputs))["names"] == ["a.PNG", "b.png"]


def test_scaled_pictures_are_told_once_a_pass(tmp_path):
    picture(tmp_path / "a.png", 4, 6)
    picture(tmp_path / "b.png", 8, 8, 1)
    picture(tmp_path / "c.png", 9, 7, 2)
    source = open_source(
        parts_source(("image", tmp_path, {"resize": [4, 6]}), inputs={"image": INPUTS["image"]})
    )
    for _ in range(2):
        assert all(sample.feeds["image"].shape == (1, 3, 4, 6) for sample in source.read_ahead(3))
        assert source.warnings == [
            "2 pictures for input 'image' were scaled to 4 x 6 (height x width), such as b.png of 8 x 8"
        ]


def test_digest_covers_every_part(tmp_path):
    picture(tmp_path / "p" / "a.png", 4, 6)
    extra = tmp_path / "e.bin"
    source = parts_source(("image", tmp_path / "p", {}), ("extra", write_bin(extra, array(1, 5)), {}))
    first = listing(source)["sha256"]
    assert listing(source)["sha256"] == first
    write_bin(extra, array(1, 5, seed=1))
    assert listing(source)["sha256"] != first


def test_bad_samples_are_skipped_as_a_whole(tmp_path):
    picture(tmp_path / "p" / "a.png", 4, 6)
    (tmp_path / "p" / "b.png").write_bytes(b"no picture")
    extra = write_bin(tmp_path / "e.bin", array(2, 5))
    source = parts_source(("image", tmp_path / "p", {}), ("extra", extra, {}), skip_bad=True)
    opened = open_source(source)
    assert [sample.name for sample in opened] == ["a.png, e.bin#0"]
    assert [entry["file"] for entry in opened.skipped] == ["b.png, e.bin#1"]


def test_counts_must_be_equal(tmp_path):
    picture(tmp_path / "p" / "a.png", 4, 6)
    extra = write_bin(tmp_path / "e.bin", array(2, 5))
    error = error_of(lambda: listing(parts_source(("image", tmp_path / "p", {}), ("extra", extra, {}))))
    assert error.code == "DATA_PARTS_DIFFER"
    assert "1 for 'image'" in error.message and "2 for 'extra'" in error.message


@pytest.mark.parametrize("damage", [b"", b"\1\0\0\0", struct.pack("<4i", 610, 2, 2, 5), struct.pack("<3i", 610, 99, 1)])
def test_a_damaged_file_is_named_before_the_count(tmp_path, damage):
    for name in "ab":
        picture(tmp_path / "p" / f"{name}.png", 4, 6)
    (tmp_path / "e.bin").write_bytes(damage)
    source = parts_source(("image", tmp_path / "p", {}), ("extra", tmp_path / "e.bin", {}))
    error = error_of(lambda: listing(source))
    assert error.code == "DATA_CORRUPT" and error.place == str(tmp_path / "e.bin")


@pytest.mark.parametrize("names", [("image",), ("image", "image"), ("image", "other")])
def test_parts_must_name_every_input_once(tmp_path, names):
    picture(tmp_path / "a.png", 4, 6)
    error = error_of(lambda: listing(parts_source(*((name, tmp_path, {}) for name in names))))
    assert error.code == "DATA_PARTS_INPUTS" and "'extra'" in error.message
