"""Damaged pictures and arrays: whatever the bytes, a reader gives samples or a DoptError, and soon."""

import io
import struct
import time
import warnings

import numpy as np
import pytest
from fuzzing import damaged_bytes, fuzz
from PIL import Image
from sources import data_source

from dopt.data.source import list_samples, open_source
from dopt.errors import DoptError
from dopt.events import Events

SLOWEST_SECONDS = 10


def pictures():
    """(name, bytes) of small valid pictures in many encodings."""
    rng = np.random.default_rng(0)
    color = Image.fromarray(rng.integers(0, 256, (13, 17, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    variants = [
        ("jpg", color, {"quality": 80}),
        ("jpg", color, {"progressive": True, "exif": exif}),
        ("jpg", color.convert("CMYK"), {}),
        ("png", color, {"exif": exif}),
        ("png", color.convert("P"), {"transparency": 3}),
        ("png", color.convert("1"), {}),
        ("png", Image.fromarray(rng.integers(0, 65536, (9, 8)).astype(np.uint16)), {}),
        ("bmp", color, {}),
        ("bmp", color.convert("P"), {}),
        ("dib", color, {}),
        ("webp", color, {"lossless": True}),
        ("webp", color, {"quality": 50}),
        ("tif", color, {}),
        ("tif", color, {"compression": "tiff_lzw"}),
        ("tif", color, {"compression": "tiff_adobe_deflate"}),
        ("tif", color, {"compression": "jpeg"}),
        ("tif", color.convert("1"), {"compression": "group4"}),
        ("ppm", color, {}),
    ]
    found = []
    for ending, image, options in variants:
        buffer = io.BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF"}.get(ending, ending.upper())
        image.save(buffer, kind, **options)
        found.append((ending, buffer.getvalue()))
    return found + [("ppm", b"P3 2 2 255 " + b"9 " * 12), ("pbm", b"P1 3 2 1 0 1 0 1 0")]


def arrays():
    """(ending, bytes) of small valid array files of shape [4, 3, 5]."""
    values = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)
    found = []
    for ending, save in (("npy", np.save), ("npz", np.savez), ("npz", np.savez_compressed)):
        for stored in (values, np.asfortranarray(values.astype(np.float64))):
            buffer = io.BytesIO()
            save(buffer, stored) if ending == "npy" else save(buffer, x=stored)
            found.append((ending, buffer.getvalue()))
    body = values.tobytes()
    return found + [
        ("bin", struct.pack("<5i", 510, 4, 3, 5, 1) + body),
        ("bin", struct.pack("<5i", 610, 3, 4, 3, 5) + body),
    ]


def read(folder, ending, data, shape, **preprocess):
    """Reads a file of these bytes to the last sample. Raises DoptError."""
    path = folder / f"f.{ending}"
    path.write_bytes(data)
    source = data_source(path, shape, **preprocess)
    begin = time.perf_counter()
    try:
        list_samples({"source": source}, Events())
        for sample in open_source(source):
            assert sample.feeds["x"].dtype == np.float32 and np.isfinite(sample.feeds["x"]).all()
    except DoptError as error:
        assert error.kind == "user"
        raise
    finally:
        assert time.perf_counter() - begin < SLOWEST_SECONDS


@pytest.mark.parametrize("index", range(len(pictures())))
def test_damaged_pictures(tmp_path, index):
    ending, data = pictures()[index]
    preprocess = {"letterbox": {"size": 16, "pad": 0, "align": "center"}} if index % 2 else {"resize": 16, "crop": 16}

    def open_picture(damaged):
        read(tmp_path, ending, damaged, (1, 3, 16, 16), **preprocess)

    open_picture(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about odd metadata
        outcomes = fuzz(
            f"pictures, {ending} {index}",
            180,
            lambda rng: damaged_bytes(rng, [data]),
            open_picture,
            share=1 / len(pictures()),
        )
    assert len(outcomes) > 1 or not outcomes["read"]


@pytest.mark.parametrize("index", range(len(arrays())))
def test_damaged_arrays(tmp_path, index):
    ending, data = arrays()[index]
    shape = (1, 3, 5, 1) if ending == "bin" and data[:1] == b"\xfe" else (1, 3, 5)

    def open_array(damaged):
        read(tmp_path, ending, damaged, shape)

    open_array(data)
    # The original's files are small enough for many more.
    cases = 1200 if ending == "bin" else 220
    share = 1 / len(arrays())
    outcomes = fuzz(f"arrays, {ending} {index}", cases, lambda rng: damaged_bytes(rng, [data]), open_array, share=share)
    assert outcomes["read"] and len(outcomes) > 1
