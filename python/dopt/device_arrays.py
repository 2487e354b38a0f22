"""Arrays on a GPU as they are: where torch, CuPy, TensorFlow or JAX keep them, without importing any of those.

``view_of`` takes whatever speaks DLPack (https://dmlc.github.io/dlpack) or has ``__cuda_array_interface__``
(https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html) and says address, type, shape and device. Nothing is
copied and no stream waits for another: the work that made an array must be in the stream it is used in, or done.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

from .errors import DoptError


class DeviceView(NamedTuple):
    """A contiguous array in device memory. ``owner`` keeps it there."""

    address: int
    dtype: str  # as numpy names it, or "bfloat16"
    shape: tuple[int, ...]
    device: int | None  # None: the interface does not say
    owner: Any

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size


class DLTensor(ctypes.Structure):
    """An array as DLPack describes it."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_CUDA = 2  # kDLCUDA
_CODES = {0: "int%d", 1: "uint%d", 2: "float%d", 4: "bfloat%d"}


def view_of(array: Any, dtype: str | None = None) -> DeviceView:
    """The array as a DeviceView. Raises DoptError for what is not contiguous device memory, or not of ``dtype``."""
    view = _from_dlpack(array) if hasattr(array, "__dlpack__") else _from_interface(array)
    if dtype is not None and view.dtype != dtype:
        raise _refused(array, "its elements are %s, expected %s" % (view.dtype, dtype))
    return view


def _refused(array: Any, why: str) -> DoptError:
    return DoptError("DEVICE_ARRAY", "%s cannot be used on the GPU: %s" % (type(array).__name__, why), kind="bug")


def _from_dlpack(array: Any) -> DeviceView:
    try:
        capsule = array.__dlpack__(stream=-1)  # -1: without waiting
    except TypeError:
        capsule = array.__dlpack__()
    except (BufferError, RuntimeError, ValueError) as error:
        raise _refused(array, str(error)) from error
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    # The capsule is not consumed: its own deleter runs when `owner` goes.
    tensor = DLTensor.from_address(pointer(capsule, b"dltensor"))
    if tensor.device_type != _CUDA:
        raise _refused(array, "it is not in CUDA memory (DLPack device %d)" % tensor.device_type)
    if tensor.lanes != 1 or tensor.code not in _CODES:
        raise _refused(array, "elements of DLPack type %d, %d lanes" % (tensor.code, tensor.lanes))
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    if strides is not None and not _contiguous(shape, strides):
        raise _refused(array, "shape %s with strides %s is not contiguous" % (shape, strides))
    address = (tensor.data or 0) + tensor.byte_offset
    return DeviceView(address, _CODES[tensor.code] % tensor.bits, shape, tensor.device_id, (array, capsule))


def _from_interface(array: Any) -> DeviceView:
    import numpy as np

    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        raise _refused(array, "it has neither __dlpack__ nor __cuda_array_interface__")
    dtype = np.dtype(interface["typestr"])
    shape = tuple(interface["shape"])
    strides = interface.get("strides")
    if strides is not None and not _contiguous(shape, tuple(each // dtype.itemsize for each in strides)):
        raise _refused(array, "shape %s with byte strides %s is not contiguous" % (shape, strides))
    return DeviceView(interface["data"][0] or 0, dtype.name, shape, None, array)


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether strides, in elements, are those of C order; of extents of 1, or of nothing, they do not matter."""
    expected = 1
    for extent, stride in zip(reversed(shape), reversed(strides)):
        if extent == 0:
            return True
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True
