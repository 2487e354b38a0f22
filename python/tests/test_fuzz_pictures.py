"""Damaged files of every kind: whatever the bytes, a reader gives samples or a DoptError, and soon.

DOPT_FUZZ_ROUNDS multiplies the number of mutations (1 is about 5,000 files).
"""

import io
import os
import random
import struct
import time
import warnings

import numpy as np
import pytest
from PIL import Image
from sources import data_source

from dopt.data.source import list_samples, open_source
from dopt.errors import DoptError
from dopt.events import Events

ROUNDS = int(os.environ.get("DOPT_FUZZ_ROUNDS", "1"))
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


def mutate(data, rng):
    """One random damage: bits, runs, numbers at the ends of their range, cuts, repeats, insertions."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if not data:
            break
        # Headers are where the harm is done, so half of the damage goes there.
        at = rng.randrange(min(len(data), 64) if rng.random() < 0.5 else len(data))
        kind = rng.randrange(7)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            extreme = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\x80\0\0\0"))
            data[at : at + 4] = extreme[: len(data) - at]
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + rng.randrange(1, 9)]
        elif kind == 5:
            data[at:at] = data[at : at + rng.randrange(1, 64)]
        else:
            data[at:at] = rng.randbytes(rng.randrange(1, 16)) if hasattr(rng, "randbytes") else b"\xa5" * 7
    return bytes(data)


def survive(folder, ending, data, shape, **preprocess):
    """Reads a file of these bytes; True when it gave samples, False for a DoptError. Anything else fails the test."""
    path = folder / f"f.{ending}"
    path.write_bytes(data)
    source = data_source(path, shape, **preprocess)
    begin = time.perf_counter()
    try:
        list_samples({"source": source}, Events())
        for sample in open_source(source):
            assert sample.feeds["x"].dtype == np.float32 and np.isfinite(sample.feeds["x"]).all()
        return True
    except DoptError as error:
        assert error.kind == "user" and error.message
        return False
    finally:
        assert time.perf_counter() - begin < SLOWEST_SECONDS


@pytest.mark.parametrize("index", range(len(pictures())))
def test_damaged_pictures(tmp_path, index):
    ending, data = pictures()[index]
    preprocess = {"letterbox": {"size": 16, "pad": 0, "align": "center"}} if index % 2 else {"resize": 16, "crop": 16}
    assert survive(tmp_path, ending, data, (1, 3, 16, 16), **preprocess)
    rng, outcomes = random.Random(index), set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about odd metadata
        for _ in range(180 * ROUNDS):
            outcomes.add(survive(tmp_path, ending, mutate(data, rng), (1, 3, 16, 16), **preprocess))
    assert False in outcomes


@pytest.mark.parametrize("index", range(len(arrays())))
def test_damaged_arrays(tmp_path, index):
    ending, data = arrays()[index]
    shape = (1, 3, 5, 1) if ending == "bin" and data[:1] == b"\xfe" else (1, 3, 5)
    assert survive(tmp_path, ending, data, shape)
    rng, outcomes = random.Random(index), set()
    # The original's files are small enough for many more.
    for _ in range((1200 if ending == "bin" else 220) * ROUNDS):
        outcomes.add(survive(tmp_path, ending, mutate(data, rng), shape))
    assert outcomes == {True, False}
