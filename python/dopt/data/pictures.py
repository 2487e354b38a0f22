"""Picture files: which ones count as such, and decoding them to upright 8-bit colour or gray.

Decoding follows Pillow's ``convert``: transparency is dropped (not blended), palettes are looked up, gray is repeated or
weighted by ITU-R 601, CMYK is converted without a profile. 16-bit gray is scaled to 0..255. Of several frames the first
is taken.
"""

from functools import lru_cache
from typing import Any

from dopt.errors import DoptError

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
#: Largest picture that is decoded; Pillow's own limit against decompression bombs (0.5 GB of RGB).
MAX_PIXELS = 178_956_970

_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "PPM")
_ORIENTATION_TAG = 0x0112


@lru_cache(maxsize=None)
def pillow() -> Any:
    """Pillow's Image module with its readers loaded, so that threads may use them.

    Raises DoptError(ENV_NO_PILLOW, environment) when the interpreter lacks it.
    """
    import warnings

    try:
        from PIL import Image
    except ImportError as error:
        raise DoptError(
            "ENV_NO_PILLOW",
            f"Pictures are read with Pillow, which this Python lacks ({error}).",
            kind="environment",
            suggestions=["Install pillow, or let dopt create its own environment: dopt env create onnx"],
        ) from error
    Image.init()
    # Between half the limit and the limit Pillow only warns, on stderr; sizes are checked here.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    return Image


def decode(path: str, gray: bool) -> Any:
    """Reads one picture as a Pillow image of mode RGB, or L with ``gray``, turned upright by its EXIF orientation.

    Raises DoptError: DATA_CORRUPT_PICTURE, DATA_PICTURE_SIZE, DATA_PICTURE_MODE or DATA_UNREADABLE.
    """
    image_module = pillow()
    formats = [name for name in _FORMATS if name in image_module.OPEN]
    try:
        with open(path, "rb") as file, image_module.open(file, formats=formats) as image:
            check_pixels(image.size, path)
            image.load()
            return _to_8_bit(_upright(image), gray, path)
    except DoptError:
        raise
    except (image_module.DecompressionBombError, MemoryError) as error:
        raise _too_large(path, str(error) or "out of memory") from error
    except image_module.UnidentifiedImageError as error:
        raise _corrupt(path, "no known picture format (jpg, png, bmp, webp, tiff, ppm)") from error
    except PermissionError as error:
        raise DoptError(
            "DATA_UNREADABLE", f"Cannot read {path}: {error.strerror}.", place=path, suggestions=_SKIP
        ) from error
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise _corrupt(path, f"{error}" or type(error).__name__) from error


def check_pixels(size: Any, path: str) -> None:
    """Raises DoptError(DATA_PICTURE_SIZE) for (width, height) beyond the limit or without any pixel."""
    width, height = size
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise _too_large(path, f"{width} x {height} pixels")


def _upright(image: Any) -> Any:
    """Undoes the rotation that EXIF records. Unreadable EXIF counts as none: the pixels are good."""
    image_module = pillow()
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return image
    turns = {
        2: image_module.FLIP_LEFT_RIGHT,
        3: image_module.ROTATE_180,
        4: image_module.FLIP_TOP_BOTTOM,
        5: image_module.TRANSPOSE,
        6: image_module.ROTATE_270,
        7: image_module.TRANSVERSE,
        8: image_module.ROTATE_90,
    }
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_8_bit(image: Any, gray: bool, path: str) -> Any:
    import numpy as np

    image_module = pillow()
    if image.mode == "F":
        raise _mode(path, "32-bit floating-point pixels")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise _mode(path, "32-bit integer pixels beyond 0..65535")
        # 65535 / 255 = 257, so the full range maps onto 0..255 with rounding.
        image = image_module.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    wanted = "L" if gray else "RGB"
    # A copy also detaches the pixels from the file that is about to be closed.
    return image.copy() if image.mode == wanted else image.convert(wanted)


_SKIP = ["Replace the file, or go on without it: --skip-bad"]


def _corrupt(path: str, reason: str) -> DoptError:
    return DoptError(
        "DATA_CORRUPT_PICTURE", f"{path} cannot be read as a picture: {reason}.", place=path, suggestions=_SKIP
    )


def _too_large(path: str, found: str) -> DoptError:
    return DoptError(
        "DATA_PICTURE_SIZE",
        f"{path} is too large to decode ({found}); the limit is {MAX_PIXELS} pixels.",
        place=path,
        suggestions=["Scale the picture down, or go on without it: --skip-bad"],
    )


def _mode(path: str, found: str) -> DoptError:
    return DoptError(
        "DATA_PICTURE_MODE",
        f"{path} holds {found}, which have no agreed scale to 0..255.",
        place=path,
        suggestions=["Convert it to 8 bits a channel, or give the preprocessed data as .npy."],
    )
