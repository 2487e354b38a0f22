"""Bytes of a weights file as torch storages, and tensors as views of them, with every number of the file checked."""

import mmap
import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

from dopt.doors.torch.refusals import Broken, Refused
from dopt.doors.torch.unpickler import Budget

#: Dimensions of a tensor; torch itself stops at 64.
MAX_DIMENSIONS = 64
#: An expanded tensor (stride 0) may have this many elements beyond those of its storage.
MAX_EXPANDED = 1 << 24
_MAX_EXTENT = 1 << 40
_CHUNK = 64 << 20
#: Steps of the budget that one tensor costs: it takes about 1 KB.
_TENSOR_STEPS = 20


class Source:
    """A weights file open for reading: mapped for parsing, and read straight into tensors. A context manager."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = open(path, "rb", buffering=0)
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            if self.size == 0:
                raise Broken("it is empty (0 bytes)")
            self.map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: Any) -> None:
        self.map.close()
        self._file.close()

    def fill(self, target: Any, offset: int) -> None:
        """Fills a one-dimensional uint8 tensor from the file."""
        view = memoryview(target.numpy())
        self._file.seek(offset)
        done = 0
        while done < len(view):
            count = self._file.readinto(view[done : done + _CHUNK])
            if not count:
                raise Broken(f"it ends at byte {offset + done}, within a tensor")
            done += count


class StorageType:
    """A global such as ``torch.FloatStorage``: the element type that a persistent id names."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype


class Storage:
    """Memory of tensors as bytes (a uint8 tensor) and the element type that it was declared with."""

    def __init__(self, dtype: Any, data: Any) -> None:
        self.dtype = dtype
        self.data = data


class Storages:
    """All storages of one file by key. Their sizes are bounded by the file's before any memory is asked for."""

    def __init__(self, limit: int, budget: Budget) -> None:
        self._left = limit
        self._budget = budget
        self._by_key: Dict[str, Storage] = {}
        self._filled: Dict[str, bool] = {}

    def declare(self, key: str, kind: Any, numel: Any) -> Storage:
        """The storage of a key; memory is made, not filled, the first time it is named."""
        import torch

        if not isinstance(kind, StorageType):
            raise Broken(f"storage {key[:100]!r} has no element type")
        count = _count(numel, f"the length of storage {key[:100]!r}") * itemsize(kind.dtype)
        known = self._by_key.get(key)
        if known is not None:
            if known.data.numel() != count:
                raise Broken(f"storage {key[:100]!r} has {known.data.numel()} bytes and {count} bytes at once")
            return known if known.dtype == kind.dtype else Storage(kind.dtype, known.data)
        self._left -= count
        if self._left < 0:
            raise Broken(f"storage {key[:100]!r} of {count} bytes does not fit in the file")
        self._budget.spend(_TENSOR_STEPS)
        made = Storage(kind.dtype, torch.empty(count, dtype=torch.uint8))
        self._by_key[key], self._filled[key] = made, False
        return made

    def get(self, key: str) -> Storage:
        """The storage of a key that was declared."""
        return self._by_key[key]

    def missing(self, key: str) -> bool:
        """Whether the storage is declared and has no data yet."""
        return self._filled.get(key) is False

    def fill(self, key: str, source: Source, offset: int, swap: bool = False) -> int:
        """Fills a declared storage from the file and returns the offset behind it. ``swap``: it is big-endian."""
        import torch

        storage = self._by_key[key]
        source.fill(storage.data, offset)
        if swap:
            _swap(storage)
        if storage.dtype == torch.bool:
            storage.data.ne_(0)
        self._filled[key] = True
        return offset + storage.data.numel()

    def check_complete(self) -> None:
        """Raises Broken when a storage was declared and never filled: its memory would be anything."""
        for key, filled in self._filled.items():
            if not filled:
                raise Broken(f"the data of storage {key[:100]!r} is not in it")

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, dtype: Any = None) -> Any:
        """A tensor over a storage (no copy), after checking that all its elements lie within. dtype: of untyped storages."""
        import torch

        if not isinstance(storage, Storage):
            raise Broken("a tensor has no storage")
        dtype = storage.dtype if dtype is None else dtype
        if not isinstance(dtype, torch.dtype):
            raise Broken("a tensor's element type is none")
        numel = storage.data.numel() // itemsize(dtype)
        sizes, strides, start = check_view(numel, offset, size, stride)
        self._budget.spend(_TENSOR_STEPS)
        whole = storage.data[: numel * itemsize(dtype)].view(dtype)
        try:
            # as_strided counts from the beginning of the memory, also for a storage that is a part of another.
            return torch.as_strided(whole, sizes, strides, whole.storage_offset() + start)
        except RuntimeError as error:
            raise Broken(f"a tensor of shape {sizes} cannot be made") from error


def check_view(numel: int, offset: Any, size: Any, stride: Any) -> Tuple[List[int], List[int], int]:
    """Sizes, strides (both in elements) and offset of a view of ``numel`` elements. Raises Broken when it leaves them."""
    if type(size) not in (tuple, list) or type(stride) not in (tuple, list) or len(size) != len(stride):
        raise Broken("a tensor's shape and strides do not fit")
    if len(size) > MAX_DIMENSIONS:
        raise Broken(f"a tensor has {len(size)} dimensions")
    start = _count(offset, "a tensor's offset")
    sizes = [_count(extent, "a tensor's size") for extent in size]
    strides = [_count(step, "a tensor's stride") for step in stride]
    elements = 1
    for extent in sizes:
        elements *= extent
    if elements == 0:
        if start > numel:
            raise Broken("a tensor starts behind its storage")
        return sizes, strides, start
    last = start + sum((extent - 1) * step for extent, step in zip(sizes, strides))
    if last >= numel:
        raise Broken(f"a tensor reaches to element {last} of a storage of {numel}")
    if elements > max(numel, MAX_EXPANDED):
        raise Broken(f"a tensor repeats a storage of {numel} elements to {elements}")
    return sizes, strides, start


def itemsize(dtype: Any) -> int:
    """Bytes of one element."""
    import torch

    return torch.empty(0, dtype=dtype).element_size()


def find_dtype(name: str) -> Optional[Any]:
    """torch's dtype of a name such as ``bfloat16``, or None when this torch has none that can be stored."""
    import torch

    dtype = getattr(torch, name, None)
    return dtype if isinstance(dtype, torch.dtype) else None


def _count(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_EXTENT:
        shown = value if type(value) is int and abs(value) < 1 << 64 else f"a {type(value).__name__}"
        raise Broken(f"{what} is {shown}")
    return value


def _swap(storage: Storage) -> None:
    """Turns big-endian elements around in place; a complex number is two of its parts."""
    import torch

    if storage.dtype is torch.uint8:
        return
    width = itemsize(storage.dtype) // (2 if storage.dtype.is_complex else 1)
    if width > 1:
        elements = storage.data.numpy().view(f"u{width}")
        elements.byteswap(inplace=True)


def storage_reference(reference: Any, lengths: Sequence[int]) -> Tuple[Any, str, Any, Any]:
    """Element type, key, number of elements and view of a persistent id ``('storage', type, key, location, numel[, view])``."""
    if type(reference) is not tuple or not reference:
        raise Broken("a persistent id is not that of a storage")
    tag = reference[0]
    if tag != "storage":
        raise Refused(f"the persistent id {str(tag)[:100]!r}")
    if len(reference) not in lengths or not isinstance(reference[2], (str, int)):
        raise Broken("a reference to a storage has the wrong parts")
    view = reference[5] if len(reference) == 6 else None
    return reference[1], str(reference[2]), reference[4], view
