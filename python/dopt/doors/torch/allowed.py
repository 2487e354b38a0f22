"""The globals that a file of weights may name, each with our own, checking replacement; nothing else is looked up.

Found in files of torch 0.3 to 2.13: collections.OrderedDict, the storage types, ``_rebuild_tensor`` (old), ``_v2`` and
``_v3`` (types without a storage type of their own), parameters, torch.Size, torch.device, dtypes; numpy scalars (a best
accuracy, a learning rate) and collections.Counter (milestones of a schedule) in checkpoints.
"""

import re
import struct
from collections import OrderedDict
from typing import Any, Callable, Dict

from dopt.doors.torch.refusals import Broken, Refused
from dopt.doors.torch.storages import Storages, StorageType, find_dtype
from dopt.doors.torch.unpickler import Budget, Function, Stateful, check_key

_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
_UNTYPED = ("torch.storage.UntypedStorage", "torch.UntypedStorage", "torch.storage._UntypedStorage", "torch._UntypedStorage")
_DTYPES = frozenset(
    "float16 float32 float64 half float double bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex32"
    " complex64 complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu".split()
)
#: numpy's type codes -> those of ``struct``.
_NUMPY = {
    "f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I",
    "u8": "Q", "b1": "?",
}  # fmt: skip
#: Longest bytes of a numpy scalar, as the text that protocol 2 writes.
_MAX_SCALAR = 16
_DEVICE = re.compile(r"[a-z]{1,20}(:\d{1,4})?")


class NumpyType(Stateful):
    """numpy.dtype of a number: its code (``f8``), and the byte order that comes as its state."""

    def __init__(self, code: Any) -> None:
        if code not in _NUMPY:
            raise Refused(f"numpy.dtype({str(code)[:40]!r})")
        self.format = _NUMPY[code]
        self.order = "<"

    def set_state(self, state: Any) -> None:
        """State of numpy.dtype.__reduce__: (version, byte order, ...)."""
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise Broken("a numpy type has an unknown byte order")
        self.order = ">" if state[1] == ">" else "<"


class ScriptModule(Stateful):
    """A module of a TorchScript archive: its attributes by name. Its code is not looked at."""

    def __init__(self) -> None:
        self.attributes: Dict[str, Any] = {}

    def set_state(self, state: Any) -> None:
        if type(state) is not dict:
            raise Broken("a TorchScript module has no attributes")
        self.attributes = state


def allowed(storages: Storages, budget: Budget, script: bool = False) -> Callable[[str], Any]:
    """Lookup for ``Machine``: the value or Function of a global's name, None for what is refused.

    script: also the classes of a TorchScript archive, as plain attributes.
    """

    def ordered_dict(items: Any = ()) -> Any:
        if type(items) not in (list, tuple):
            raise Broken("an OrderedDict is made of no list")
        budget.spend(len(items))
        if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in items):
            raise Broken("an OrderedDict is made of no pairs")
        return OrderedDict((check_key(key), value) for key, value in items)

    def counter(counts: Any = None) -> Any:
        if type(counts) not in (dict, type(None)):
            raise Broken("a Counter is made of no dict")
        budget.spend(len(counts or {}))
        return dict(counts or {})

    def parameter(data: Any, *_: Any) -> Any:
        return _tensor(data)

    def tensor_v2(storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, bits: Any = None) -> Any:
        return _plain(storages.tensor(storage, offset, size, stride), bits)

    def tensor_v3(
        storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, bits: Any = None
    ) -> Any:
        return _plain(storages.tensor(storage, offset, size, stride, dtype), bits)

    def from_type(rebuild: Any, kind: Any, arguments: Any, _state: Any) -> Any:
        if not isinstance(rebuild, Function) or not isinstance(kind, _TensorClass) or type(arguments) is not tuple:
            raise Broken("a tensor is made of the wrong parts")
        return _tensor(rebuild.call(*arguments))

    functions = {
        "collections.OrderedDict": ordered_dict,
        "collections.Counter": counter,
        "torch._utils._rebuild_tensor": lambda *parts: storages.tensor(*_exactly(parts, 4)),
        "torch._utils._rebuild_tensor_v2": tensor_v2,
        "torch._utils._rebuild_tensor_v3": tensor_v3,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
        "torch._tensor._rebuild_from_type_v2": from_type,
        "torch.Size": _size,
        "torch.device": _device,
        "numpy.dtype": lambda code, *_: NumpyType(code),
        "numpy.core.multiarray.scalar": _scalar,
        "numpy._core.multiarray.scalar": _scalar,
        "_codecs.encode": _encode,
    }
    script_functions = {
        f"torch.jit._pickle.{name}": lambda value, *_: value
        for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
    }
    table = {name: Function(name, call) for name, call in {**functions, **(script_functions if script else {})}.items()}

    def lookup(name: str) -> Any:
        if name in table:
            return table[name]
        if script and name.startswith("__torch__."):
            return Function(name, ScriptModule)
        return _constant(name)

    return lookup


class _TensorClass:
    """torch.Tensor or a parameter, as the class that a tensor is to have."""


def _constant(name: str) -> Any:
    """Storage types, dtypes and tensor classes: values that cannot be called."""
    module, _, last = name.rpartition(".")
    if last in _STORAGES and module in ("torch", "torch.cuda"):
        return StorageType(find_dtype(_STORAGES[last]))
    if name in _UNTYPED:
        return StorageType(find_dtype("uint8"))
    if module == "torch" and last in _DTYPES:
        dtype = find_dtype(last)
        if dtype is None:
            raise Broken(f"it holds tensors of type {name}, which this version of torch does not have")
        return dtype
    if name in ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"):
        return _TensorClass()
    return None


def _tensor(value: Any) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        raise Broken("a parameter is made of no tensor")
    return value


def _plain(tensor: Any, bits: Any) -> Any:
    """The tensor, unless it is stored as the conjugate or negative of what is to be read."""
    if type(bits) is dict and any(bits.values()):
        raise Refused("a tensor with a pending conjugation; save it with .resolve_conj().resolve_neg()")
    return tensor


def _exactly(parts: Any, count: int) -> Any:
    if len(parts) != count:
        raise Broken("a tensor is made of the wrong parts")
    return parts


def _size(extents: Any = ()) -> Any:
    if type(extents) not in (tuple, list) or not all(type(extent) is int for extent in extents) or len(extents) > 64:
        raise Broken("a torch.Size is made of something else than sizes")
    return tuple(extents)


def _device(kind: Any, index: Any = None) -> str:
    """A device is of no use here; it stays the text that names it."""
    text = kind if index is None else f"{kind}:{index if type(index) is int else '?'}"
    if not isinstance(kind, str) or not _DEVICE.fullmatch(text):
        raise Broken("a device has an impossible name")
    return text


def _encode(text: Any, codec: Any) -> bytes:
    """Bytes as protocol 2 writes them: text in which each letter is one byte."""
    if not isinstance(text, str) or codec != "latin1" or len(text) > _MAX_SCALAR:
        raise Refused("_codecs.encode of something else than a number's bytes")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise Broken("bytes are written with letters that are none") from error


def _scalar(kind: Any, data: Any) -> Any:
    """A numpy number as a Python one. Its bytes come as text when Python 2 wrote them and they are valid UTF-8."""
    if isinstance(data, str):
        data = data.encode("utf-8")
    if not isinstance(kind, NumpyType) or type(data) is not bytes or len(data) != struct.calcsize("<" + kind.format):
        raise Broken("a numpy number is made of the wrong parts")
    return struct.unpack(kind.order + kind.format, data)[0]
