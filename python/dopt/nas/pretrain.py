"""What shared weights begin with, the same in both frameworks: an earlier search, or a classification of other pictures."""

import os
from typing import Any, Callable, Dict, List, Optional, Tuple

from dopt.errors import DoptError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
#: Mean and deviation of photographs (those of ImageNet), for pictures that the user's own module does not read.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def begin_from(params: Dict[str, Any], checkpoint: str, learn: Callable[[Dict[str, Any]], None]) -> Optional[str]:
    """The folder of the weights to begin with, None for none.

    ``preTrainFolder`` is that folder itself and has the file ``checkpoint``, or holds pictures in one folder a class: then
    the same layers learn to tell these apart first (as DetNAS does: Chen et al., NeurIPS 2019, section 3.2), by ``learn``,
    which gets the parameters of that training.
    """
    folder = params["preTrainFolder"]
    if folder is None or os.path.exists(os.path.join(folder, checkpoint)):
        return folder
    own = os.path.join(os.path.dirname(params["checkpoint"]), "pre-training")
    os.makedirs(own, exist_ok=True)
    learn({**params, "features": [], "application": "image_classification", "trainFolder": folder,
           "checkpoint": os.path.join(own, checkpoint)})
    return own


def class_folders(folder: str, checkpoint: str) -> List[str]:
    """Names of the folders of a folder, one a class. Raises DoptError NAS_DATASET when there are not two of them."""
    inside = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    names = [each for each in inside if os.path.isdir(os.path.join(folder, each))]
    if len(names) < 2:
        raise DoptError("NAS_DATASET", f"{folder} has no folders of pictures, one a class, and no {checkpoint}.", place=folder,
                        suggestions=["Set pre_train_dir to a folder of them, or to the log_search of an earlier search."])
    return names


def pictures(folder: str, names: List[str]) -> List[Tuple[str, int]]:
    """Files of pictures with the place of their class in ``names``. Raises DoptError NAS_DATASET when there are none."""
    found = [(os.path.join(folder, name, file), kind) for kind, name in enumerate(names)
             for file in sorted(os.listdir(os.path.join(folder, name))) if file.lower().endswith(SUFFIXES)]
    if not found:
        raise DoptError("NAS_DATASET", f"The folders in {folder} have no pictures ({', '.join(SUFFIXES)}).", place=folder,
                        suggestions=["Set pre_train_dir to a folder of pictures in one folder a class."])
    return found


def read_picture(path: str, height: int, width: int) -> Any:
    """A picture as float32 of (height, width, 3), with the mean 0 and the deviation 1 of photographs."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as opened:
        picture = np.asarray(opened.convert("RGB").resize((width, height), Image.BILINEAR), np.float32)
    return (picture / 255 - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)


def channels_of(params: Dict[str, Any]) -> int:
    """Channels that every candidate gives to what stands behind it."""
    (channels,) = {layer["out"] for layer in params["largest"][-1].values()}
    return channels


def other_layers(path: str) -> DoptError:
    """The error of a checkpoint whose layers are not those of the search."""
    return DoptError("NAS_PRE_TRAIN", "The weights in pre_train_dir are those of other layers.", place=path, suggestions=[
        "Give the log_search of a search with the same filters and strides, or a folder with one folder of pictures a class."])
