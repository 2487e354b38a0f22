"""The original tool's calibration files: int32 510, N, C, H, W or int32 610, rank, dims; then float32, little-endian."""

import os
import struct
from typing import Dict, List

from dopt.data.blocks import StoredArray, corrupt
from dopt.data.inputs import Input, element_count
from dopt.errors import DoptError

EXTENSIONS = (".bin",)
MAGIC_4D = 510
MAGIC_ANY = 610
_MAX_RANK = 16


def stored_bin(path: str, inputs: List[Input], layout: str) -> Dict[str, StoredArray]:
    """The array of a .bin by the name of the model's only input. Reads the header only.

    Format 510 is N, C, H, W; with ``layout`` nhwc its samples are transposed to H, W, C. Format 610 is taken as it is.
    Raises DoptError: DATA_CORRUPT, DATA_UNREADABLE, DATA_MISSING_INPUT.
    """
    import numpy as np

    if len(inputs) != 1:
        raise DoptError(
            "DATA_MISSING_INPUT",
            f"{path} feeds one input, but the model has {len(inputs)}: "
            f"{', '.join(repr(value.name) for value in inputs)}.",
            place=path,
            suggestions=["Use a .npz with one array an input."],
        )
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            head = file.read(8 + 4 * _MAX_RANK)
    except OSError as error:
        raise DoptError("DATA_UNREADABLE", f"Cannot read {path}: {error.strerror}.", place=path) from error
    magic = struct.unpack_from("<i", head)[0] if len(head) >= 4 else None
    if magic == MAGIC_4D and len(head) >= 20:
        shape, offset = struct.unpack_from("<4i", head, 4), 20
    elif magic == MAGIC_ANY and len(head) >= 8:
        rank = struct.unpack_from("<i", head, 4)[0]
        if not 1 <= rank <= _MAX_RANK or len(head) < 8 + 4 * rank:
            raise corrupt(path, f"its header gives rank {rank}")
        shape, offset = struct.unpack_from(f"<{rank}i", head, 8), 8 + 4 * rank
    else:
        raise corrupt(path, f"it starts with {magic} where a calibration file has {MAGIC_4D} or {MAGIC_ANY}")
    if any(extent < 1 for extent in shape):
        raise corrupt(path, f"its header gives the shape {list(shape)}")
    wanted = 4 * element_count(shape)
    if wanted != size - offset:
        raise corrupt(path, f"shape {list(shape)} takes {wanted} bytes of float32, but {size - offset} follow the header")
    channels_last = magic == MAGIC_4D and layout == "nhwc"
    array = StoredArray(lambda: open(path, "rb"), offset, np.dtype("<f4"), tuple(shape), False, channels_last)
    return {inputs[0].name: array}
