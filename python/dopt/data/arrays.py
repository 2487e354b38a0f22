""".npy and .npz files: their headers, checked before anything is allocated. Pickled objects are never loaded."""

import io
import os
import zipfile
from typing import Any, BinaryIO, Dict, List, Tuple

from dopt.data.blocks import StoredArray, corrupt
from dopt.data.inputs import Input, element_count
from dopt.errors import DoptError

EXTENSIONS = (".npy", ".npz")

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 16
#: Deflate cannot shrink data more than this; a member that claims more is damaged or hostile.
_DEFLATE_LIMIT = 1040


def stored_arrays(path: str, inputs: List[Input]) -> Dict[str, StoredArray]:
    """The arrays of a file by input name. Reads headers only.

    A .npy feeds a model with one input. A .npz has one array an input name (or numpy's own arr_0, arr_1, … in the
    order of the inputs). Raises DoptError: DATA_CORRUPT, DATA_UNREADABLE, DATA_UNKNOWN_INPUT, DATA_MISSING_INPUT.
    """
    try:
        if path.lower().endswith(".npz"):
            return _match(_npz(path), inputs, path)
        if len(inputs) > 1:
            raise DoptError(
                "DATA_MISSING_INPUT",
                f"{path} holds one array, but the model has {len(inputs)} inputs: {_names(inputs)}.",
                place=path,
                suggestions=["Use .npz files with one array an input: numpy.savez(path, **{name: array, ...})"],
            )
        return {inputs[0].name: _npy(path)}
    except DoptError:
        raise
    except PermissionError as error:
        raise DoptError("DATA_UNREADABLE", f"Cannot read {path}: {error.strerror}.", place=path) from error
    except Exception as error:  # zipfile and numpy raise many types on damaged files
        raise corrupt(path, f"{error}" or type(error).__name__) from error


def load_npy(path: str) -> Any:
    """The whole array of a .npy file, its header checked before anything is allocated. Raises OSError, ValueError."""
    import numpy as np

    try:
        _npy(path)
        return np.load(path, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # numpy raises many types on damaged files
        raise ValueError(f"{error}" or type(error).__name__) from error


def _npy(path: str) -> StoredArray:
    with open(path, "rb") as stream:
        dtype, shape, fortran, offset = _header(stream)
    _check_size(shape, dtype, os.path.getsize(path) - offset)
    return StoredArray(lambda: open(path, "rb"), offset, dtype, shape, fortran)


def _npz(path: str) -> Dict[str, StoredArray]:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{info.filename} is compressed in a way that numpy never writes")
            if info.file_size > info.compress_size * _DEFLATE_LIMIT + 1024 or info.compress_size > os.path.getsize(path):
                raise ValueError(f"{info.filename} claims {info.file_size} bytes, more than the file can hold")
            with archive.open(info) as member:
                dtype, shape, fortran, offset = _header(member)
            _check_size(shape, dtype, info.file_size - offset)
            arrays[info.filename[:-4]] = StoredArray(
                _member_opener(path, info.filename), offset, dtype, shape, fortran
            )
    return arrays


def _member_opener(path: str, member: str) -> Any:
    def opener() -> Any:
        # The member stream keeps the archive's file open by itself.
        with zipfile.ZipFile(path) as archive:
            return archive.open(member)

    return opener


def _header(stream: BinaryIO) -> Tuple[Any, Tuple[int, ...], bool, int]:
    """dtype, shape, Fortran order, and where the data starts."""
    from numpy.lib import format as numpy_format

    prefix = stream.read(8)
    if prefix[:6] != _MAGIC or len(prefix) < 8:
        raise ValueError("no numpy array file (its first bytes are wrong)")
    version = prefix[6]
    length_bytes = {1: 2, 2: 4}.get(version)
    if length_bytes is None:
        raise ValueError(f"numpy file version {version} is not supported")
    length_field = stream.read(length_bytes)
    length = int.from_bytes(length_field, "little")
    if length > _MAX_HEADER:
        raise ValueError(f"its header claims {length} bytes")
    reader = numpy_format.read_array_header_1_0 if version == 1 else numpy_format.read_array_header_2_0
    shape, fortran, dtype = reader(io.BytesIO(length_field + stream.read(length)))
    if dtype.kind not in "fiub":
        raise ValueError(f"it holds {dtype} and not plain numbers")
    if any(extent < 0 for extent in shape):
        raise ValueError(f"its shape is {shape}")
    return dtype, tuple(int(extent) for extent in shape), fortran, 8 + length_bytes + length


def _check_size(shape: Tuple[int, ...], dtype: Any, available: int) -> None:
    wanted = element_count(shape) * dtype.itemsize
    if wanted != available:
        raise ValueError(f"shape {list(shape)} of {dtype} takes {wanted} bytes, but it has {available}")


def _match(arrays: Dict[str, StoredArray], inputs: List[Input], path: str) -> Dict[str, StoredArray]:
    """Arrays by input name; every input must have one and no array may be left over."""
    from difflib import get_close_matches

    wanted = [value.name for value in inputs]
    if sorted(arrays) == sorted(f"arr_{index}" for index in range(len(inputs))) and not set(arrays) & set(wanted):
        return {name: arrays[f"arr_{index}"] for index, name in enumerate(wanted)}
    for name in arrays:
        if name not in wanted:
            near = get_close_matches(name, wanted, 3, 0.5)
            raise DoptError(
                "DATA_UNKNOWN_INPUT",
                f"{path} holds an array {name!r}, but the model's inputs are {_names(inputs)}.",
                place=path,
                suggestions=[f"Did you mean {' or '.join(map(repr, near))}?"] if near else ["Name arrays after inputs."],
            )
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise DoptError(
            "DATA_MISSING_INPUT",
            f"{path} has no array for input {', '.join(map(repr, missing))}; it holds "
            f"{', '.join(map(repr, arrays)) or 'no array at all'}.",
            place=path,
            suggestions=["Store one array an input, under the input's name."],
        )
    return arrays


def _names(inputs: List[Input]) -> str:
    return ", ".join(repr(value.name) for value in inputs)
