"""The zip format of torch.save (1.6 and newer) and of torch.jit.save: NAME/data.pkl and one record a storage.

Only what such files are made of is read: records stored without compression, which lie apart from each other. So what is
declared is what is there, and memory cannot exceed the file. Layout: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
4.3. Checksums are not compared: torch does not either, and can be told to write none.
"""

import io
import struct
from typing import Any, Dict, NamedTuple, Optional, Tuple

from dopt.doors.torch.allowed import ScriptModule, allowed
from dopt.doors.torch.refusals import Broken
from dopt.doors.torch.storages import Source, Storage, Storages, storage_reference
from dopt.doors.torch.unpickler import Budget, Machine

SIGNATURE = b"PK\x03\x04"
_END, _END64, _LOCATOR64, _CENTRAL = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
#: The end record and the longest comment that may follow it.
_TAIL = 22 + 65535
_MAX_RECORDS = 200_000
_FULL32, _FULL16 = 0xFFFFFFFF, 0xFFFF


class Record(NamedTuple):
    """Where the data of a record lies: its offset in the file, its bytes there, and whether they are the data itself."""

    offset: int
    size: int
    stored: bool


class Archive(NamedTuple):
    """Records by their name within the archive (``data.pkl``, ``data/0``), and whether torch.jit.save wrote it."""

    records: Dict[str, Record]
    script: bool


def read_zip(source: Source) -> Tuple[Any, bool]:
    """The object that was saved, and whether the file is a TorchScript archive. Raises Broken or Refused."""
    archive = _open(source)
    swap = _is_big_endian(source, archive)
    budget = Budget()
    storages = Storages(source.size, budget)

    def persistent(reference: Any) -> Storage:
        kind, key, numel, _ = storage_reference(reference, (5,))
        storage = storages.declare(key, kind, numel)
        if storages.missing(key):
            record = _record(archive, f"data/{key}")
            if record is None or record.size != storage.data.numel():
                found = "no record" if record is None else f"a record of {record.size} bytes"
                raise Broken(f"storage {key[:100]!r} of {storage.data.numel()} bytes has {found}")
            storages.fill(key, source, record.offset, swap)
        return storage

    machine = Machine(allowed(storages, budget, archive.script), persistent, budget)
    return machine.load(io.BytesIO(_bytes(source, _record(archive, "data.pkl")))), archive.script


def flatten(module: ScriptModule) -> Dict[str, Any]:
    """Tensors of a TorchScript module by their names in a state dict (``layer1.0.weight``)."""
    import torch

    tensors: Dict[str, Any] = {}
    seen = set()
    waiting = [("", module)]
    while waiting:
        prefix, current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        for name, value in current.attributes.items():
            if isinstance(value, ScriptModule):
                waiting.append((f"{prefix}{name}.", value))
            elif isinstance(value, torch.Tensor):
                tensors[f"{prefix}{name}"] = value
    return tensors


def _record(archive: Archive, name: str) -> Optional[Record]:
    """The record, None when there is none. Raises Broken when it is compressed: torch stores all that is read here."""
    record = archive.records.get(name)
    if record is not None and not record.stored:
        raise Broken(f"its record {name[:100]!r} is compressed, which torch.save never does; pack it anew without (zip -0)")
    return record


def _bytes(source: Source, record: Optional[Record]) -> bytes:
    if record is None:
        raise Broken("a record is not in it")
    return source.map[record.offset : record.offset + record.size]


def _is_big_endian(source: Source, archive: Archive) -> bool:
    record = _record(archive, "byteorder")
    order = b"little" if record is None else _bytes(source, record)[:16]
    if order not in (b"little", b"big"):
        raise Broken(f"its byte order is {order!r}")
    return order == b"big"


def _open(source: Source) -> Archive:
    """Lists the records and checks that they are whole, stored as they are, and apart from each other."""
    found: Dict[str, Record] = {}
    spans = []
    start, end, count = _directory(source.map)
    for name, method, header, size in _entries(source.map, start, end, count):
        if name in found:
            raise Broken(f"it has two records {name[:100]!r}")
        offset = _data_offset(source.map, name, header, start)
        if offset + size > start:
            raise Broken(f"record {name[:100]!r} of {size} bytes reaches behind the records")
        found[name] = Record(offset, size, method == 0)
        spans.append((header, offset + size, name))
    spans.sort()
    for before, after in zip(spans, spans[1:]):
        if after[0] < before[1]:
            raise Broken(f"records {before[2][:100]!r} and {after[2][:100]!r} overlap")
    roots = [name[: -len("data.pkl")] for name in found if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise Broken(f"it is a zip archive with {len(roots)} records NAME/data.pkl, and torch.save writes one")
    records = {name[len(roots[0]) :]: record for name, record in found.items() if name.startswith(roots[0])}
    return Archive(records, "constants.pkl" in records)


def _directory(data: Any) -> Tuple[int, int, int]:
    """First byte and end of the central directory, and its number of entries."""
    size = len(data)
    end = data.rfind(_END, max(0, size - _TAIL))
    if end < 0 or end + 22 > size:
        raise Broken("it is a zip archive without its end")
    count, length, start = struct.unpack_from("<HII", data, end + 10)
    stop = end
    if _FULL32 in (length, start) or count == _FULL16:
        stop, count, length, start = _directory64(data, end)
    if start + length > stop or count > _MAX_RECORDS or length < count * 46:
        raise Broken("the list of its records does not fit in it")
    return start, start + length, count


def _directory64(data: Any, end: int) -> Tuple[int, int, int, int]:
    locator = end - 20
    if locator < 0 or data[locator : locator + 4] != _LOCATOR64:
        raise Broken("it is a large zip archive without its end")
    (place,) = struct.unpack_from("<Q", data, locator + 8)
    if place + 56 > locator or data[place : place + 4] != _END64:
        raise Broken("it is a large zip archive without its end")
    count, length, start = struct.unpack_from("<QQQ", data, place + 32)
    return place, count, length, start


def _entries(data: Any, start: int, end: int, count: int) -> Any:
    """Name, compression method, offset of the local header, and size of each entry of the central directory."""
    place = start
    for _ in range(count):
        if place + 46 > end or data[place : place + 4] != _CENTRAL:
            raise Broken("the list of its records breaks off")
        flags, method = struct.unpack_from("<HH", data, place + 8)
        packed, size, name_length, extra_length, comment_length = struct.unpack_from("<IIHHH", data, place + 20)
        (header,) = struct.unpack_from("<I", data, place + 42)
        names = place + 46
        place = names + name_length + extra_length + comment_length
        if place > end:
            raise Broken("the list of its records breaks off")
        name = _text(data[names : names + name_length])
        extra = data[names + name_length : names + name_length + extra_length]
        size, packed, header = _wide(extra, size, packed, header)
        if flags & 1:
            raise Broken(f"record {name[:100]!r} is encrypted")
        if not method and packed != size:
            raise Broken(f"record {name[:100]!r} has {packed} bytes and {size} bytes at once")
        yield name, method, header, packed


def _wide(extra: bytes, *values: int) -> Tuple[int, ...]:
    """Sizes and offset with those that are in the zip64 field (id 1), which holds only the ones that are full."""
    field = _extra(extra, 1)
    wide = []
    for value in values:
        if value == _FULL32 and field is not None:
            if len(field) < 8:
                raise Broken("a record has no size")
            value, field = int.from_bytes(field[:8], "little"), field[8:]
        wide.append(value)
    return tuple(wide)


def _extra(extra: bytes, wanted: int) -> Optional[bytes]:
    place = 0
    while place + 4 <= len(extra):
        number, length = struct.unpack_from("<HH", extra, place)
        if number == wanted:
            return extra[place + 4 : place + 4 + length]
        place += 4 + length
    return None


def _data_offset(data: Any, name: str, header: int, limit: int) -> int:
    """Where the data begins; the local header must name the same record as the directory."""
    if header + 30 > limit or data[header : header + 4] != SIGNATURE:
        raise Broken(f"record {name[:100]!r} is not where the list of records says")
    name_length, extra_length = struct.unpack_from("<HH", data, header + 26)
    if _text(data[header + 30 : header + 30 + name_length]) != name:
        raise Broken(f"record {name[:100]!r} has another name in its own header")
    return header + 30 + name_length + extra_length


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
