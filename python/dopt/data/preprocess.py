"""From a decoded picture to a tensor, in the order that src/config/data.ts fixes.

EXIF rotation (done by the decoder), resize or letterbox, crop, colour order, (x - mean) / std on 0..255 values, layout.
"""

from typing import Any, Dict, Sequence, Tuple, Union

from dopt.data.pictures import check_pixels, pillow
from dopt.errors import DoptError


def check_preprocess(preprocess: Dict[str, Any], channels: int) -> None:
    """Raises DoptError for settings that contradict each other or the number of channels."""
    if preprocess.get("resize") is not None and preprocess.get("letterbox") is not None:
        raise DoptError(
            "DATA_PREPROCESS",
            "Both resize and letterbox are given; letterbox already scales the picture.",
            suggestions=["Drop one of the two."],
        )
    for key in ("mean", "std"):
        count = len(_listed(preprocess[key]))
        if count not in (1, channels):
            raise DoptError(
                "DATA_MEAN_COUNT",
                f"{key} has {count} values, but the pictures have {channels} "
                f"channel{'s' if channels > 1 else ''}: give 1 value or {channels}.",
                suggestions=[f"For example --{key} {','.join(['127.5'] * channels)}"],
            )


def to_tensor(image: Any, preprocess: Dict[str, Any], place: str) -> Any:
    """A Pillow image of mode RGB or L as a float32 array, [C, H, W] or [H, W, C] by ``layout``.

    Raises DoptError: DATA_CROP when the crop is larger than the picture, DATA_PICTURE_SIZE.
    """
    import numpy as np

    if preprocess.get("resize") is not None:
        image = resize(image, preprocess["resize"], preprocess["interpolation"], place)
    if preprocess.get("letterbox") is not None:
        pixels = letterbox(image, preprocess["letterbox"], preprocess["interpolation"], place)
    else:
        pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if preprocess.get("crop") is not None:
        pixels = center_crop(pixels, preprocess["crop"], place)
    if preprocess["color"] == "bgr":
        pixels = pixels[:, :, ::-1]
    mean, std = (np.asarray(_listed(preprocess[key]), np.float32) for key in ("mean", "std"))
    tensor = pixels.astype(np.float32)
    if mean.any():
        tensor -= mean
    if (std != 1).any():
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            tensor /= std
    return tensor if preprocess["layout"] == "nhwc" else np.ascontiguousarray(tensor.transpose(2, 0, 1))


def resize(image: Any, size: Union[int, Sequence[int]], interpolation: str, place: str) -> Any:
    """Scales to [height, width], or the shorter side to a number, as torchvision's Resize does on Pillow images.

    The longer side becomes int(size * long / short). Shrinking with bilinear or bicubic is antialiased.
    """
    width, height = image.size
    if isinstance(size, int):
        short, long = min(width, height), max(width, height)
        other = max(1, int(size * long / short))
        wanted = (size, other) if width <= height else (other, size)
    else:
        wanted = (size[1], size[0])
    if wanted == image.size:
        return image
    check_pixels(wanted, place)
    module = pillow()
    methods = {"nearest": module.NEAREST, "bilinear": module.BILINEAR, "bicubic": module.BICUBIC}
    return image.resize(wanted, methods[interpolation])


def letterbox(image: Any, settings: Dict[str, Any], interpolation: str, place: str) -> Any:
    """Fits the picture into [height, width] and pads the rest, as YOLOX's ``preproc`` does: [H, W, C] or [H, W].

    Both sides are scaled by min(H/h, W/w) and truncated. Bilinear samples points, as OpenCV's INTER_LINEAR does; it
    does not average over the pixels between them when shrinking. uint8, or float32 when ``pad`` is no whole number.
    """
    import numpy as np

    out_height, out_width = _pair(settings["size"])
    check_pixels((out_width, out_height), place)
    width, height = image.size
    ratio = min(out_height / height, out_width / width)
    new_height, new_width = max(1, int(height * ratio)), max(1, int(width * ratio))
    if interpolation == "bilinear":
        scaled = sample_bilinear(np.asarray(image), new_height, new_width)
    else:
        scaled = np.asarray(resize(image, (new_height, new_width), interpolation, place))
    pad = settings["pad"]
    kind = np.uint8 if float(pad).is_integer() else np.float32
    canvas = np.full((out_height, out_width) + scaled.shape[2:], pad, kind)
    top = left = 0
    if settings["align"] == "center":
        top, left = (out_height - new_height) // 2, (out_width - new_width) // 2
    canvas[top : top + new_height, left : left + new_width] = scaled
    return canvas


def sample_bilinear(pixels: Any, height: int, width: int) -> Any:
    """Bilinear point sampling at half-pixel centres, edges repeated: uint8 [h, w, ...] to uint8 [height, width, ...]."""
    import numpy as np

    if pixels.shape[:2] == (height, width):
        return pixels
    top, bottom, down = _taps(pixels.shape[0], height)
    left, right, across = _taps(pixels.shape[1], width)
    tail = (1,) * (pixels.ndim - 2)
    down, across = down.reshape((-1, 1) + tail), across.reshape((1, -1) + tail)
    rows = pixels[top].astype(np.float32)
    rows += (pixels[bottom] - rows) * down
    start = rows[:, left]
    start += (rows[:, right] - start) * across
    return np.rint(start).astype(np.uint8)


def center_crop(pixels: Any, size: Union[int, Sequence[int]], place: str) -> Any:
    """The middle [height, width] of [H, W, C]; offsets are rounded half to even, as torchvision's CenterCrop does."""
    height, width = _pair(size)
    if pixels.shape[0] < height or pixels.shape[1] < width:
        raise DoptError(
            "DATA_CROP",
            f"{place}: cannot crop {height} x {width} (height x width) out of {pixels.shape[0]} x {pixels.shape[1]}.",
            place=place,
            suggestions=[f"Enlarge small pictures first: --resize {max(height, width)}"],
        )
    top = int(round((pixels.shape[0] - height) / 2))
    left = int(round((pixels.shape[1] - width) / 2))
    return pixels[top : top + height, left : left + width]


def _taps(size: int, wanted: int) -> Tuple[Any, Any, Any]:
    """Indices of the two neighbours and the weight of the second, for every output position along one axis."""
    import numpy as np

    position = (np.arange(wanted) + 0.5) * (size / wanted) - 0.5
    first = np.floor(position).astype(np.int64)
    weight = (position - first).astype(np.float32)
    return np.clip(first, 0, size - 1), np.clip(first + 1, 0, size - 1), weight


def _pair(size: Union[int, Sequence[int]]) -> Tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _listed(value: Union[float, Sequence[float]]) -> Sequence[float]:
    return [value] if isinstance(value, (int, float)) else value
