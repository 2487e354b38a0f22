"""Weights files made by hand: archives of chosen records, the legacy format around any pickle, and pickles by opcode."""

import io
import pickle
import struct
import zipfile

import torch

from dopt.doors.torch.legacy import MAGIC

FORMATS = ["zip", "legacy"]


def save(value, path, form="zip", **options):
    """torch.save in one of its two formats."""
    torch.save(value, str(path), _use_new_zipfile_serialization=form == "zip", **options)
    return str(path)


def trusted_load(path):
    """torch.load of a file that the test itself made: runs its code."""
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except TypeError:
        return torch.load(path, map_location="cpu")


def archive(path, records, root="archive", compression=zipfile.ZIP_STORED):
    """A zip file of records by name."""
    with zipfile.ZipFile(str(path), "w", compression) as file:
        for name, data in records.items():
            file.writestr(f"{root}/{name}", data)
    return str(path)


def wrap(path, body, form, storages=()):
    """A file in one of the formats around the bytes of a pickle; storages: (key, count of elements, bytes)."""
    if form == "zip":
        return archive(path, {"data.pkl": body, "version": b"3\n", **{f"data/{k}": data for k, _, data in storages}})
    out = io.BytesIO()
    for value in (MAGIC, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}):
        out.write(pickle.dumps(value, 2))
    out.write(body)
    out.write(pickle.dumps([key for key, _, _ in storages], 2))
    for _, count, data in storages:
        out.write(struct.pack("<q", count) + data)
    with open(str(path), "wb") as file:
        file.write(out.getvalue())
    return str(path)


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value):
    raw = pickle.encode_long(value)
    return b"\x8a" + bytes([len(raw)]) + raw


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def glob(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def tensor(key="0", count=6, offset=0, size=(2, 3), stride=(3, 1), kind="FloatStorage", form="zip"):
    """Opcodes that make a tensor over a storage."""
    view = b"N" if form == "legacy" else b""
    storage = b"(" + text("storage") + glob("torch", kind) + text(key) + text("cpu") + number(count) + view + b"tQ"
    hooks = glob("collections", "OrderedDict") + b")R"
    return (
        glob("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + storage
        + number(offset)
        + numbers(size)
        + numbers(stride)
        + b"\x89"
        + hooks
        + b"tR"
    )


def state(*values):
    """A pickle of {'w0': value, ...} from opcodes."""
    items = b"".join(text(f"w{place}") + value for place, value in enumerate(values))
    return b"\x80\x02}(" + items + b"u."


def one_tensor(path, form, data=bytes(24), **options):
    """A file of one tensor, 2x3 of float32 unless told otherwise."""
    return wrap(path, state(tensor(form=form, **options)), form, [("0", 6, data)])
