import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from sources import error_of, picture

from dopt.data.pictures import MAX_PIXELS, decode


def pixels_of(path, gray=False):
    return np.asarray(decode(str(path), gray))


@pytest.mark.parametrize("ending", ["png", "bmp", "dib", "tif", "tiff", "ppm", "webp"])
def test_lossless_formats_give_their_pixels(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    wanted = picture(path, 5, 7, **({"lossless": True} if ending == "webp" else {}))
    np.testing.assert_array_equal(pixels_of(path), wanted)


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "jpe"])
def test_jpeg_is_close(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    Image.new("RGB", (16, 16), (200, 30, 90)).save(path, "JPEG")
    assert np.abs(pixels_of(path).astype(int) - (200, 30, 90)).max() < 6


@pytest.mark.parametrize("ending", ["jpg", "tif", "png", "webp"])
@pytest.mark.parametrize(
    "orientation, turn",
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, ending, orientation, turn):
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :16] = 255
    stored[8:, :16] = 128
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{ending}", exif=exif, **({"lossless": True} if ending == "webp" else {}))
    found = pixels_of(tmp_path / f"a.{ending}")
    assert found.shape == turn(stored).shape
    assert np.abs(found.astype(int) - turn(stored)).mean() < 3


def test_broken_exif_does_not_spoil_the_pixels(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.full((4, 4, 3), 9, np.uint8)).save(path, exif=b"Exif\0\0garbage that is no TIFF header")
    assert (pixels_of(path) == 9).all()


@pytest.mark.parametrize(
    "mode, color, wanted",
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("LA", (77, 10), (77, 77, 77)),
        ("RGBA", (10, 20, 30, 0), (10, 20, 30)),
        ("P", 3, None),
    ],
)
def test_modes_become_rgb(tmp_path, mode, color, wanted):
    image = Image.new(mode, (3, 2), color)
    if mode == "P":
        image.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
        wanted = (3, 252, 7)
    image.save(tmp_path / "a.png")
    assert (pixels_of(tmp_path / "a.png") == wanted).all()


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 50, 60, 70])
    image.save(tmp_path / "a.png", transparency=1)
    assert (pixels_of(tmp_path / "a.png") == (50, 60, 70)).all()


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_cmyk(tmp_path, ending):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / f"a.{ending}")
    assert np.abs(pixels_of(tmp_path / f"a.{ending}").astype(int) - (255, 0, 0)).max() < 8


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bit_gray_is_scaled(tmp_path, ending):
    values = np.array([[0, 128, 129, 257, 32896, 65407, 65535]], np.uint16)
    if ending == "pgm":
        (tmp_path / "a.pgm").write_bytes(b"P5 7 1 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(tmp_path / f"a.{ending}")
    assert pixels_of(tmp_path / f"a.{ending}", gray=True).tolist() == [[0, 0, 1, 1, 128, 255, 255]]


def test_gray_weighs_the_colours(tmp_path):
    Image.new("RGB", (2, 2), (255, 0, 0)).save(tmp_path / "a.png")
    assert pixels_of(tmp_path / "a.png", gray=True).tolist() == [[76, 76], [76, 76]]


def test_float_pixels_are_refused(tmp_path):
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "a.tif")
    assert error_of(lambda: decode(str(tmp_path / "a.tif"), False)).code == "DATA_PICTURE_MODE"


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (11, 200)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert (pixels_of(tmp_path / "a.tif")[..., 0] == 11).all()


def test_content_counts_and_not_the_ending(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (1, 2, 3)).save(buffer, "PNG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert (pixels_of(tmp_path / "a.jpg") == (1, 2, 3)).all()


@pytest.mark.parametrize("content", [b"", b"no picture", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_named(tmp_path, content):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    error = error_of(lambda: decode(str(path), False))
    assert error.code == "DATA_CORRUPT_PICTURE" and error.kind == "user"
    assert error.place == str(path) and str(path) in error.message and "--skip-bad" in error.suggestions[0]


def test_a_truncated_picture_is_corrupt(tmp_path):
    path = tmp_path / "a.png"
    picture(path, 64, 64)
    path.write_bytes(path.read_bytes()[:-2000])
    assert error_of(lambda: decode(str(path), False)).code == "DATA_CORRUPT_PICTURE"


def png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("width, height", [(100_000, 100_000), (MAX_PIXELS + 1, 1), (2**31 - 1, 2**31 - 1), (14_000, 14_000)])
def test_bombs_are_refused_before_decoding(tmp_path, width, height):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(width, height))
    error = error_of(lambda: decode(str(path), False))
    assert error.code == "DATA_PICTURE_SIZE" and str(path) in error.message
