import os

import numpy as np
import pytest
from PIL import Image
from sources import data_source, error_of, picture

from dopt.data import files
from dopt.data.materialize import materialize
from dopt.data.source import list_samples, open_source
from dopt.events import Events


class Recorder(Events):
    """Keeps what a method reports."""

    def __init__(self):
        super().__init__()
        self.sent = []

    def _send(self, event):
        self.sent.append(event)

    def warnings(self):
        return [event["message"] for event in self.sent if event["type"] == "log" and event["level"] == "warning"]


def listed(source):
    return list_samples({"source": source}, Events())


def read(source):
    opened = open_source(source)
    return list(opened), opened


@pytest.fixture
def folder(tmp_path):
    for index, name in enumerate(["b.PNG", "a.png", "sub/c.bmp", "sub.d/x.webp", "é.png", "B.png", "sub/deep/e.tiff"]):
        picture(tmp_path / "data" / name, seed=index)
    (tmp_path / "data" / "notes.txt").write_text("not a sample")
    for hidden in (".hidden.png", ".git/x.png", "sub/.DS_Store", "._a.png"):
        picture(tmp_path / "data" / "h.png")
        (tmp_path / "data" / hidden).parent.mkdir(exist_ok=True)
        os.rename(tmp_path / "data" / "h.png", tmp_path / "data" / hidden)
    return tmp_path / "data"


def test_listing_is_sorted_and_leaves_out_hidden_files(folder):
    answer = listed(data_source(folder))
    assert answer["kind"] == "pictures"
    assert answer["names"] == ["B.png", "a.png", "b.PNG", "sub.d/x.webp", "sub/c.bmp", "sub/deep/e.tiff", "é.png"]
    assert [sample.name for sample in read(data_source(folder))[0]] == answer["names"]


def test_digest_follows_names_and_contents(folder):
    before = listed(data_source(folder))["sha256"]
    (folder / "notes.txt").write_text("changed, but no sample")
    assert listed(data_source(folder))["sha256"] == before
    os.rename(folder / "a.png", folder / "a2.png")
    renamed = listed(data_source(folder))["sha256"]
    picture(folder / "b.PNG", seed=99)
    assert len({before, renamed, listed(data_source(folder))["sha256"]}) == 3


def test_links_are_followed_but_not_in_circles(folder):
    os.symlink(folder, folder / "sub" / "loop")
    os.symlink(folder / "a.png", folder / "z.png")
    os.symlink(folder / "nowhere.png", folder / "dangling.png")
    assert listed(data_source(folder))["names"][-2:] == ["z.png", "é.png"]


def test_indices_choose_and_order(folder):
    samples, opened = read(data_source(folder, indices=[4, 0]))
    assert [sample.name for sample in samples] == ["sub/c.bmp", "B.png"] and len(opened) == 2


@pytest.mark.parametrize("indices", [[0, 7], []])
def test_impossible_indices(folder, indices):
    assert error_of(lambda: open_source(data_source(folder, indices=indices))).code == "DATA_INDEX"


def test_a_single_picture(folder):
    samples, _ = read(data_source(folder / "a.png"))
    assert [sample.name for sample in samples] == ["a.png"]


def test_missing_data_suggests_the_neighbour(folder):
    error = error_of(lambda: open_source(data_source(folder.parent / "dta")))
    assert error.code == "DATA_NOT_FOUND" and str(folder) in error.suggestions[0]


def test_empty_folder(tmp_path):
    (tmp_path / ".hidden.png").write_bytes(b"x")
    error = error_of(lambda: open_source(data_source(tmp_path)))
    assert error.code == "DATA_EMPTY_FOLDER" and str(tmp_path) in error.message


def test_folder_of_other_files_says_which(tmp_path):
    for name in ("a.gif", "b.gif", "c.txt", "README"):
        (tmp_path / name).write_bytes(b"x")
    error = error_of(lambda: open_source(data_source(tmp_path)))
    assert error.code == "DATA_NO_SAMPLES"
    assert "2 .gif" in error.message and "1 .txt" in error.message and "1 without an ending" in error.message


def test_folder_of_bins_names_the_remedy(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"x")
    assert "file itself" in error_of(lambda: open_source(data_source(tmp_path))).suggestions[0]


def test_mixed_folder(folder):
    np.save(folder / "a.npy", np.zeros((3, 8, 8), np.float32))
    assert error_of(lambda: open_source(data_source(folder))).code == "DATA_MIXED_FOLDER"


def test_unreadable_folder(folder, monkeypatch):
    real = os.scandir

    def refuse(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(files.os, "scandir", refuse)
    error = error_of(lambda: open_source(data_source(folder)))
    assert error.code == "DATA_UNREADABLE" and "Permission denied" in error.message and error.place.endswith("sub")


def test_unknown_file_kind(tmp_path):
    (tmp_path / "data.csv").write_text("1,2")
    assert error_of(lambda: open_source(data_source(tmp_path / "data.csv"))).code == "DATA_FORMAT"


def test_corrupt_picture_is_named_or_skipped(folder):
    (folder / "b.PNG").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    error = error_of(lambda: read(data_source(folder)))
    assert error.code == "DATA_CORRUPT_PICTURE" and error.place == str(folder / "b.PNG")
    samples, opened = read(data_source(folder, skip_bad=True))
    assert len(samples) == 6 and [entry["file"] for entry in opened.skipped] == ["b.PNG"]
    assert "b.PNG" in opened.skipped[0]["reason"]


def test_nothing_left_is_an_error(folder):
    error = error_of(lambda: read(data_source(folder, (1, 3, 9, 9), skip_bad=True)))
    assert error.code == "DATA_NONE_LEFT" and "None of the 7" in error.message and "[1, 3, 8, 8]" in error.message


@pytest.mark.parametrize(
    "shape, found, advice, preprocess",
    [
        ((1, 3, 4, 4), "[1, 3, 8, 8]", "--crop 4", {}),
        ((1, 3, 16, 16), "[1, 3, 8, 8]", "--resize 16 --crop 16", {}),
        (("N", 3, 4, 6), "[1, 3, 8, 8]", "--crop 4x6", {}),
        ((1, 3, 9, 9), "[1, 3, 4, 4]", "--letterbox 9", {"letterbox": {"size": 4, "pad": 0, "align": "center"}}),
        ((8, 3, 8, 8), "[1, 3, 8, 8]", 'fix the batch to 1: --input-shape "x:1,3,8,8"', {}),
    ],
)
def test_shape_mismatch_names_the_flag(folder, shape, found, advice, preprocess):
    error = error_of(lambda: read(data_source(folder, shape, **preprocess)))
    assert error.code == "DATA_SHAPE" and "B.png" in error.message and found in error.message
    assert "[%s]" % ", ".join(map(str, shape)) in error.message
    assert any(advice in text for text in error.suggestions), error.suggestions


@pytest.mark.parametrize(
    "shape, code, advice, preprocess",
    [
        ((1, 8, 8, 3), "DATA_LAYOUT", "--layout nhwc", {}),
        ((1, 3, 8, 8), "DATA_LAYOUT", "--layout nchw", {"layout": "nhwc"}),
        ((1, 3, 8, 8), "DATA_COLOR", "--color rgb", {"color": "gray"}),
        ((1, 4, 8, 8), "DATA_INPUT_NOT_PICTURE", ".npy", {}),
        ((1, 10), "DATA_INPUT_NOT_PICTURE", ".npy", {}),
        ((1, 3, 8, 8), "DATA_MEAN_COUNT", "--mean", {"mean": [1.0, 2.0]}),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(folder, shape, code, advice, preprocess):
    error = error_of(lambda: open_source(data_source(folder, shape, **preprocess)))
    assert error.code == code and advice in error.suggestions[0]


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), ("N", 1, None, "W"), (1, 8, 8), (1, 8, 8)])
def test_a_gray_input_takes_gray_pictures(folder, shape):
    sample = read(data_source(folder, shape))[0][0]
    assert sample.feeds["x"].shape == ((1, 1, 8, 8) if len(shape) == 4 else (1, 8, 8))


@pytest.mark.parametrize("shape, wanted", [(None, (1, 3, 8, 8)), ((3, 8, 8), (3, 8, 8)), (("n", "c", "h", "w"), (1, 3, 8, 8))])
def test_open_shapes(folder, shape, wanted):
    assert read(data_source(folder, shape))[0][0].feeds["x"].shape == wanted


def test_uint8_input_takes_raw_pixels(folder):
    pixels = picture(folder / "a.png", seed=5)
    sample = read(data_source(folder / "a.png", (1, 8, 8, 3), "uint8", layout="nhwc"))[0][0]
    np.testing.assert_array_equal(sample.feeds["x"][0], pixels)
    error = error_of(lambda: read(data_source(folder / "a.png", (1, 8, 8, 3), "uint8", layout="nhwc", std=2)))
    assert error.code == "DATA_CAST"


def test_pictures_for_several_inputs(folder):
    inputs = {"a": ("float32", (1, 3, 8, 8)), "b": ("float32", (1,))}
    error = error_of(lambda: open_source(data_source(folder, inputs=inputs)))
    assert error.code == "DATA_MULTIPLE_INPUTS" and ".npz" in error.suggestions[0]


@pytest.mark.parametrize("dtype", ["string", "bfloat16", "complex64", "unknown"])
def test_input_types_that_no_file_feeds(folder, dtype):
    assert error_of(lambda: open_source(data_source(folder, dtype=dtype))).code == "DATA_INPUT_TYPE"


def test_infinite_values_from_a_tiny_deviation(folder):
    error = error_of(lambda: read(data_source(folder, std=1e-45)))
    assert error.code == "DATA_NOT_FINITE" and "B.png" in error.message


def test_constant_pictures_are_named(folder):
    Image.new("RGB", (8, 8), (7, 7, 7)).save(folder / "a.png")
    _, opened = read(data_source(folder))
    assert opened.warnings == ["1 of 7 samples hold one single value throughout: a.png"]


def test_identical_pictures_are_reported(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / name, seed=1)
    assert read(data_source(tmp_path))[1].warnings == ["all 3 samples are identical; calibration needs different ones"]


def test_reading_ahead_keeps_order_and_stops_early(tmp_path):
    for index in range(30):
        picture(tmp_path / f"{index:02d}.png", seed=index)
    opened = open_source(data_source(tmp_path))
    assert [sample.name for sample in opened.read_ahead(4)] == [f"{index:02d}.png" for index in range(30)]
    iterator = opened.read_ahead(4)
    assert next(iterator).name == "00.png"
    iterator.close()


def test_materialize(folder, tmp_path):
    Image.new("RGB", (8, 8), (7, 7, 7)).save(folder / "a.png")
    (folder / "b.PNG").write_bytes(b"broken")
    events = Recorder()
    source = data_source(folder, skip_bad=True, mean=1)
    answer = materialize({"source": source, "out": str(tmp_path / "new" / "out")}, events)
    samples = read(source)[0]
    assert [entry["name"] for entry in answer["samples"]] == [sample.name for sample in samples]
    assert [entry["file"] for entry in answer["skipped"]] == ["b.PNG"]
    for entry, sample in zip(answer["samples"], samples):
        tensor = entry["tensors"]["x"]
        assert tensor["dtype"] == "float32" and tensor["shape"] == [1, 3, 8, 8] and entry["originalSize"] == [8, 8]
        np.testing.assert_array_equal(np.fromfile(tensor["path"], "<f4").reshape(1, 3, 8, 8), sample.feeds["x"])
    assert events.warnings() == ["1 of 6 samples hold one single value throughout: a.png"]
    assert [event["done"] for event in events.sent if event["type"] == "progress"][-1] == 7


def test_materialize_into_a_file(folder, tmp_path):
    (tmp_path / "taken").write_text("")
    error = error_of(lambda: materialize({"source": data_source(folder), "out": str(tmp_path / "taken")}, Events()))
    assert error.code == "OUTPUT_WRITE" and error.kind == "environment"
