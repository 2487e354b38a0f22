"""safetensors files: an 8-byte little-endian header length, a JSON header, then raw little-endian row-major data.

https://github.com/huggingface/safetensors#format. Tensors are ordered by element size, largest first, then by name, as
the reference writer does: every tensor is naturally aligned, there are no gaps (the reference reader refuses them), and
equal content gives equal bytes. The data starts at a multiple of 64 bytes. bfloat16 is handed out as its uint16 bits.
"""

import json
import os
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from dopt.errors import DoptError
from dopt.json_text import parse

#: Longest header accepted: 100 MB, the limit of the reference implementation.
MAX_HEADER = 100_000_000
ALIGNMENT = 64
#: Bytes copied at a time, so that a memory-mapped source never has to be in memory as a whole.
CHUNK = 16 << 20

_NUMPY = {
    "F64": "<f8",
    "I64": "<i8",
    "U64": "<u8",
    "F32": "<f4",
    "I32": "<i4",
    "U32": "<u4",
    "F16": "<f2",
    "BF16": "<u2",
    "I16": "<i2",
    "U16": "<u2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {code: name for name, code in _NUMPY.items() if name != "BF16"}


class Entry(NamedTuple):
    """Where one tensor lies: ``start`` and ``end`` are byte offsets in the file."""

    dtype: str
    shape: Tuple[int, ...]
    start: int
    end: int


class TensorSpec(NamedTuple):
    """What a writer must know of a tensor before its data: safetensors dtype (``F32``) and shape."""

    dtype: str
    shape: Tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return _size(self.dtype, self.shape)


def spec_of(array: Any) -> TensorSpec:
    """The spec of a numpy array. Raises DoptError(TENSOR_DTYPE, bug) for a type that the format does not know."""
    code = array.dtype.newbyteorder("<").str if array.dtype.itemsize > 1 else array.dtype.str
    if code not in _NAMES:
        raise DoptError("TENSOR_DTYPE", f"safetensors files have no type for numpy's {array.dtype}.", kind="bug")
    return TensorSpec(_NAMES[code], tuple(int(size) for size in array.shape))


def read_header(path: str) -> Dict[str, Entry]:
    """Entries by tensor name, in file order.

    Raises DoptError(TENSORS_BROKEN) when the file is not a whole safetensors file.
    """
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or length > min(MAX_HEADER, size - 8):
                raise _broken(path, f"a header of {length} bytes in {size} bytes")
            text = file.read(length)
    except OSError as error:
        raise DoptError(
            "TENSORS_UNREADABLE", f"Cannot read {path}: {error.strerror}.", kind="environment", place=path
        ) from error
    try:
        header = parse(text)
        entries = [
            (name, _entry(value, 8 + length)) for name, value in header.items() if name != "__metadata__"
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _broken(path, f"its header cannot be read ({error})") from error
    for name, entry in entries:
        if entry.end > size or _size(entry.dtype, entry.shape) != entry.end - entry.start:
            raise _broken(path, f"tensor {name!r} does not fit its place (bytes {entry.start} to {entry.end})")
    return dict(sorted(entries, key=lambda item: item[1].start))


def read(path: str) -> Dict[str, Any]:
    """All tensors as read-only numpy memory maps, in file order. Raises as ``read_header`` does."""
    return {name: map_tensor(path, entry) for name, entry in read_header(path).items()}


def map_tensor(path: str, entry: Entry) -> Any:
    """One tensor as a read-only numpy memory map."""
    import numpy as np

    dtype = np.dtype(_NUMPY[entry.dtype])
    if entry.start == entry.end:
        return np.zeros(entry.shape, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=entry.start, shape=entry.shape)


def write(
    path: str,
    tensors: Mapping[str, Any],
    specs: Optional[Mapping[str, TensorSpec]] = None,
    metadata: Optional[Mapping[str, str]] = None,
) -> Dict[str, Entry]:
    """Writes numpy arrays by name and returns where each lies; ``metadata`` is for readers that ask for some.

    ``specs`` overrides the type of single tensors (bfloat16 given as uint16). Arrays may be memory maps: they are
    copied piece by piece. The caller owns atomicity. Raises DoptError(OUTPUT_WRITE, environment) on a full disk.
    """
    wanted = {name: spec_of(array) for name, array in tensors.items()}
    wanted.update(specs or {})
    with Writer(path, wanted, metadata) as writer:
        for name in writer.names:
            writer.put(name, tensors[name])
        return writer.entries


class Writer:
    """Writes a file whose tensors come one by one, in the order of ``names``; only the specs are needed at once."""

    def __init__(self, path: str, specs: Mapping[str, TensorSpec], metadata: Optional[Mapping[str, str]] = None) -> None:
        self.path = path
        self._specs = dict(specs)
        self.names: List[str] = sorted(specs, key=lambda name: (-_itemsize(specs[name].dtype), name))
        header, offset = {}, 0
        for name in self.names:
            spec = self._specs[name]
            header[name] = {
                "dtype": spec.dtype,
                "shape": list(spec.shape),
                "data_offsets": [offset, offset + spec.nbytes],
            }
            offset += spec.nbytes
        own = {"__metadata__": dict(metadata)} if metadata else {}
        text = json.dumps({**own, **header}, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-(8 + len(text)) % ALIGNMENT)
        self.entries = {name: _entry(value, 8 + len(text)) for name, value in header.items()}
        self._left = iter(self.names)
        try:
            self._file = open(path, "wb")
            self._file.write(len(text).to_bytes(8, "little") + text)
        except OSError as error:
            raise write_error(path, error) from error

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        self.close(complete=kind is None)

    def put(self, name: str, array: Any) -> None:
        """Writes the next tensor of ``names``; its byte count must fit its spec."""
        import numpy as np

        expected = next(self._left, None)
        spec = self._specs.get(name)
        if name != expected or spec is None or array.nbytes != spec.nbytes:
            raise DoptError("TENSOR_ORDER", f"{self.path}: tensor {name!r} given, {expected!r} expected.", kind="bug")
        little = array.dtype.newbyteorder("<")
        flat = array.reshape(-1)
        step = max(1, CHUNK // max(1, array.dtype.itemsize))
        try:
            for start in range(0, flat.size, step):
                piece = np.ascontiguousarray(flat[start : start + step], dtype=little)
                self._file.write(piece.view(np.uint8).data)
        except OSError as error:
            raise write_error(self.path, error) from error

    def close(self, complete: bool = True) -> None:
        """Flushes the file to disk. With ``complete``, a tensor that was never given is an error."""
        missing = next(self._left, None)
        try:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            finally:
                # Tries to flush once more when the first time failed, and so may fail too.
                self._file.close()
        except OSError as error:
            if complete:
                raise write_error(self.path, error) from error
        if complete and missing is not None:
            raise DoptError("TENSOR_ORDER", f"{self.path}: tensor {missing!r} was never written.", kind="bug")


def write_error(path: str, error: OSError) -> DoptError:
    """The error for a file that cannot be written: full or read-only disk, missing permission."""
    return DoptError(
        "OUTPUT_WRITE",
        f"Cannot write {path}: {error.strerror or error}.",
        kind="environment",
        place=path,
        suggestions=["Free some disk space, or name an output folder that you may write to."],
    )


def _entry(value: Mapping[str, Any], data_start: int) -> Entry:
    dtype, shape = value["dtype"], tuple(value["shape"])
    start, end = value["data_offsets"]
    if dtype not in _NUMPY:
        raise ValueError(f"unknown type {dtype!r}")
    if not all(_is_count(number) for number in (*shape, start, end)) or end < start:
        raise ValueError("sizes and offsets must be whole numbers from 0 up")
    return Entry(dtype, shape, data_start + start, data_start + end)


def _is_count(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _itemsize(dtype: str) -> int:
    return int(_NUMPY[dtype][-1])


def _size(dtype: str, shape: Iterable[int]) -> int:
    size = _itemsize(dtype)
    for extent in shape:
        size *= extent
    return size


def _broken(path: str, found: str) -> DoptError:
    return DoptError(
        "TENSORS_BROKEN",
        f"{path} is not a whole safetensors file: {found}.",
        place=path,
        suggestions=[
            "A file of a model: copy or download it again.",
            "A file that dopt has written: delete the run folder and start the command again.",
        ],
    )
