"""Data sources for tests, with the defaults that the zod schema would fill in."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PREPROCESS = {"color": "rgb", "interpolation": "bilinear", "mean": 0, "std": 1, "layout": "nchw"}


def data_source(path, shape=(1, 3, 8, 8), dtype="float32", inputs=None, indices=None, skip_bad=False, **preprocess):
    named = {"x": (dtype, shape)} if inputs is None else inputs
    return {
        "path": str(path),
        "preprocess": {**PREPROCESS, **preprocess},
        "inputs": [
            {"name": name, "dtype": kind, "shape": None if dims is None else list(dims)}
            for name, (kind, dims) in named.items()
        ],
        "indices": indices,
        "skipBad": skip_bad,
    }


def picture(path, height=8, width=8, seed=0, **options):
    """Writes a random RGB picture and returns its pixels; give a lossless ending to get them back."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def error_of(call):
    """The DoptError that ``call`` raises; its place and advice are always there."""
    from dopt.errors import DoptError

    with pytest.raises(DoptError) as caught:
        call()
    return caught.value
