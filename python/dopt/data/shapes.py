"""Pictures against the model's input shape: the channel count, and errors that name the flag to use."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

from dopt.data.inputs import Input, fits, shape_text
from dopt.errors import DoptError


def picture_channels(target: Input, preprocess: Dict[str, Any]) -> int:
    """Channels of the pictures that a model's input takes: 1 or 3, by the layout; by ``color`` where the model is open.

    Raises DoptError(DATA_INPUT_NOT_PICTURE) for an input that no picture fits, DATA_LAYOUT and DATA_COLOR for one that
    fits with another flag.
    """
    chosen = 1 if preprocess["color"] == "gray" else 3
    if target.shape is None:
        return chosen
    if len(target.shape) not in (3, 4):
        raise DoptError(
            "DATA_INPUT_NOT_PICTURE",
            f"The model's input {target.name!r} takes {target.text()}, which is no picture.",
            suggestions=["Give the samples as .npy or .npz files."],
        )
    channels = target.shape[-1 if preprocess["layout"] == "nhwc" else -3]
    if not isinstance(channels, int):
        return chosen
    if channels in (1, 3):
        # Without a batch dimension in the model, a leading 1 may be the batch of a gray picture's rows.
        if channels == 3 and chosen == 1:
            raise DoptError(
                "DATA_COLOR",
                f"The model's input {target.name!r} takes {target.text()}, three channels, but gray pictures are asked for.",
                suggestions=["--color rgb (or bgr)"],
            )
        return channels
    other = target.shape[-3 if preprocess["layout"] == "nhwc" else -1]
    if other in (1, 3):
        layout = "nchw" if preprocess["layout"] == "nhwc" else "nhwc"
        raise DoptError(
            "DATA_LAYOUT",
            f"The model's input {target.name!r} takes {target.text()}, which has its channels where layout "
            f"{preprocess['layout']} has none.",
            suggestions=[f"--layout {layout}"],
        )
    raise DoptError(
        "DATA_INPUT_NOT_PICTURE",
        f"The model's input {target.name!r} takes {target.text()}; pictures have 1 or 3 channels.",
        suggestions=["Give the samples as .npy or .npz files."],
    )


def picture_misfit(path: str, target: Input, found: Sequence[int], preprocess: Dict[str, Any]) -> DoptError:
    """The error for a picture whose tensor (``found``: without batch) does not fit, with the flags that mend it."""
    suggestions: List[str] = []
    wanted = target.shape or ()
    if len(wanted) == 4 and isinstance(wanted[0], int) and wanted[0] > 1 and fits(wanted[1:], found):
        one = ",".join(map(str, (1,) + tuple(found)))
        suggestions.append(f'Pictures are fed one at a time; fix the batch to 1: --input-shape "{target.name}:{one}"')
    side = _height_width(wanted[-3:], preprocess["layout"])
    have = _height_width(found, preprocess["layout"])
    if side is not None and have is not None:
        suggestions.extend(_size_flags(side, have, preprocess))
        fixed = ",".join(map(str, (1,) + tuple(found)))
        suggestions.append(f'If the model can take that size: --input-shape "{target.name}:{fixed}"')
    return DoptError(
        "DATA_SHAPE",
        f"{path}: the model's input {target.name!r} takes {target.text()}, but the preprocessed picture has the shape "
        f"{shape_text((1,) + tuple(found))}.",
        place=path,
        suggestions=suggestions,
    )


def _size_flags(wanted: Tuple[int, int], found: Tuple[int, int], preprocess: Dict[str, Any]) -> List[str]:
    height, width = wanted
    crop = str(height) if height == width else f"{height}x{width}"
    if preprocess.get("letterbox") is not None:
        return [f"--letterbox {crop}"]
    flags = []
    if preprocess.get("crop") is None and found[0] >= height and found[1] >= width:
        flags.append(f"--crop {crop}")
    if height == width:
        flags.append(f"--resize {height} --crop {height}")
    flags.append(f"--resize {height}x{width} (changes the aspect)")
    return flags


def _height_width(shape: Sequence[Any], layout: str) -> Optional[Tuple[int, int]]:
    if len(shape) != 3:
        return None
    pair = (shape[0], shape[1]) if layout == "nhwc" else (shape[1], shape[2])
    return pair if all(isinstance(extent, int) for extent in pair) else None
