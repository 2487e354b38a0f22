"""The format of torch.save before 1.6 (and with _use_new_zipfile_serialization=False): five pickles, then the storages.

The pickles are a magic number, the version, the writer's machine, the object, and the keys of the storages in the order in
which their data follows, each as a count of elements (int64) and the elements. All of it is little-endian whatever the
machine: torch/csrc/serialization.cpp.
"""

from typing import Any

from dopt.doors.torch.allowed import allowed
from dopt.doors.torch.refusals import Broken
from dopt.doors.torch.storages import Source, Storage, Storages, check_view, itemsize, storage_reference
from dopt.doors.torch.unpickler import Budget, Machine

MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001


class NotLegacy(Exception):
    """The file is a pickle, but torch.save did not write it."""


def read_legacy(source: Source) -> Any:
    """The object that was saved. Raises Broken, Refused or NotLegacy."""
    budget = Budget()
    storages = Storages(source.size, budget)
    stream: Any = source.map
    stream.seek(0)
    # A global in the first pickle is refused by its own name rather than with "no weights file".
    plain = Machine(allowed(storages, budget), None, budget)
    if plain.load(stream) != MAGIC:
        raise NotLegacy
    version = plain.load(stream)
    if type(version) is not int or version != _VERSION:
        raise Broken(f"its version is {version if type(version) is int else 'no number'}, not {_VERSION}")
    plain.load(stream)
    machine = Machine(allowed(storages, budget), lambda reference: _storage(storages, reference), budget)
    value = machine.load(stream)
    keys = plain.load(stream)
    if type(keys) is not list or not all(isinstance(key, (str, int)) for key in keys):
        raise Broken("the list of its storages is none")
    offset = stream.tell()
    for key in map(str, keys):
        if not storages.missing(key):
            raise Broken(f"the data of storage {key[:100]!r} comes twice or belongs to nothing")
        offset = _fill(storages, source, key, offset)
    storages.check_complete()
    return value


def _fill(storages: Storages, source: Source, key: str, offset: int) -> int:
    storage = storages.get(key)
    count = int.from_bytes(source.map[offset : offset + 8], "little", signed=True)
    expected = storage.data.numel() // itemsize(storage.dtype)
    if offset + 8 > source.size or count != expected:
        raise Broken(f"storage {key[:100]!r} of {expected} elements has {count} at byte {offset}")
    return storages.fill(key, source, offset + 8)


def _storage(storages: Storages, reference: Any) -> Storage:
    """The storage of a persistent id; files of torch 0.1 may refer to a part of one."""
    kind, key, numel, view = storage_reference(reference, (5, 6))
    storage = storages.declare(key, kind, numel)
    if view is None:
        return storage
    if type(view) is not tuple or len(view) != 3:
        raise Broken("a part of a storage has the wrong parts")
    _, offset, length = view
    size = itemsize(storage.dtype)
    check_view(storage.data.numel() // size, offset, (length,), (1,))
    return Storage(storage.dtype, storage.data[offset * size : (offset + length) * size])
