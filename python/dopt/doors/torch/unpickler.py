"""A machine for pickles that can only make plain data.

The standard unpickler looks up and calls whatever a pickle names; even with ``find_class`` overridden it applies states
to the objects it was given (opcode BUILD), and it makes room for any memo index that a pickle names. This one decodes
opcodes with ``pickletools`` and carries them out itself, over dicts, lists, tuples, numbers and strings. A global is a key
into a table of the caller's; what is not in the table ends the reading. Nothing is ever imported or looked up by name.

Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py. Protocols 2 to 5 are read, which is what
torch.save writes; the text opcodes of protocols 0 and 1 are not.
"""

import pickletools
from collections import OrderedDict
from typing import Any, BinaryIO, Callable, Dict, List, Mapping, Optional

from dopt.doors.torch.entry import ENTRY
from dopt.doors.torch.refusals import Broken, Refused

#: Steps that one file may take; checkpoints of thousands of tensors with their optimizer need some 100,000.
MAX_STEPS = 2_000_000
_MARK = object()
#: Integers beyond this are not in any checkpoint; as keys of a dict they could be made to collide.
_MAX_KEY = 1 << 60
_MAX_INTEGER_BITS = 128
_KEYS = (str, int, float, bool, bytes, type(None))

_VALUES = frozenset(
    "BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8"
    " BYTEARRAY8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set}
_IGNORED = frozenset(["FRAME"])


class Function:
    """A global that may be called: ``call(*arguments)`` checks its arguments and returns plain data."""

    def __init__(self, name: str, call: Callable[..., Any]) -> None:
        self.name = name
        self.call = call


class Stateful:
    """A value that takes a state (opcode BUILD): ``set_state(state)`` checks it."""

    def set_state(self, state: Any) -> None:
        raise NotImplementedError


class Budget:
    """Counts steps, so that a small file cannot ask for much work or memory. Raises Broken when they are spent."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self._left = steps

    def spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise Broken("its pickle asks for more work than any file of weights needs")


class Machine:
    """Reads pickles from a stream.

    lookup: gives the value or ``Function`` of a global (``module.name``), or None when it is not allowed.
    persistent: gives the value of a persistent id (the storages), or raises.
    """

    def __init__(
        self,
        lookup: Callable[[str], Any],
        persistent: Optional[Callable[[Any], Any]] = None,
        budget: Optional[Budget] = None,
    ) -> None:
        self._lookup = lookup
        self._persistent = persistent
        self._budget = budget or Budget()
        self._stack: List[Any] = []
        self._memo: Dict[int, Any] = {}
        self._position = 0

    def load(self, stream: BinaryIO) -> Any:
        """The value of the pickle at the stream's position, which is left behind it. Raises Broken or Refused."""
        self._stack, self._memo = [], {}
        try:
            while True:
                self._budget.spend(1)
                self._position = stream.tell()
                opcode = _OPCODES.get(stream.read(1))
                if opcode is None:
                    raise self._broken("ends too early or has an unknown instruction")
                if opcode.name == "STOP":
                    break
                if opcode.name not in _KNOWN:
                    raise Refused(_describe(opcode, stream), self._position)
                self._step(opcode.name, opcode.arg.reader(stream) if opcode.arg else None)
        except (ValueError, OverflowError) as error:
            raise self._broken(f"breaks off ({str(error)[:100]})") from error
        if len(self._stack) != 1 or self._stack[0] is _MARK:
            raise self._broken("does not end with one value")
        return self._stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self._push_value(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name not in _IGNORED:
            _STEPS[name](self, argument)

    def _push_value(self, value: Any) -> None:
        if isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
            raise self._broken("has an integer of more than 128 bits")
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in ({} if value.isascii() else value)):
            raise self._broken("has a text that is not Unicode")
        self._stack.append(bytes(value) if isinstance(value, bytearray) else value)

    def _legacy_string(self, text: str) -> None:
        """A byte string of Python 2, which pickletools decodes as latin-1; names are UTF-8, as torch.load reads them."""
        raw = text.encode("latin-1")
        try:
            self._stack.append(raw.decode("utf-8"))
        except UnicodeDecodeError:
            self._stack.append(raw)

    def _protocol(self, version: int) -> None:
        if not 2 <= version <= 5:
            raise self._broken(f"says that it is of protocol {version}")

    def _mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _pop(self, _: Any = None) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise self._broken("takes a value where there is none")
        return self._stack.pop()

    def _top(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    def _pop_mark(self, _: Any = None) -> List[Any]:
        """The values above the topmost mark."""
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                values = self._stack[place + 1 :]
                del self._stack[place:]
                return values
        raise self._broken("closes a list that was never opened")

    def _tuple(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(values)))

    def _append(self, values: List[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            raise self._broken(f"appends to a {_kind(target)}")
        target.extend(values)

    def _add(self, values: List[Any]) -> None:
        target = self._top()
        if type(target) is not set:
            raise self._broken(f"adds to a {_kind(target)}")
        target.update(check_key(value) for value in values)

    def _set_items(self, values: List[Any]) -> None:
        target = self._top()
        if type(target) not in (dict, OrderedDict):
            raise self._broken(f"sets items of a {_kind(target)}")
        if len(values) % 2:
            raise self._broken("has a key without a value")
        for key, value in zip(values[::2], values[1::2]):
            target[check_key(key)] = value

    def _remember(self, index: Optional[int]) -> None:
        self._memo[len(self._memo) if index is None else index] = self._top()

    def _recall(self, index: int) -> None:
        if index not in self._memo:
            raise self._broken(f"refers to value {index}, which it has not made")
        self._stack.append(self._memo[index])

    def _global(self, name: str) -> None:
        name = name.replace(" ", ".", 1)
        value = self._lookup(name)
        if value is None:
            raise Refused(name[:200], self._position)
        self._stack.append(value)

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise self._broken("names a global with something that is no text")
        self._global(f"{module} {name}")

    def _call(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Function):
            raise Refused(f"a call of a {_kind(function)}", self._position)
        if type(arguments) is not tuple:
            raise self._broken(f"calls {function.name} with a {_kind(arguments)}")
        try:
            value = function.call(*arguments)
        except Refused as error:
            raise Refused(error.what, self._position) from error
        except (TypeError, KeyError) as error:
            raise self._broken(f"calls {function.name} with the wrong arguments ({str(error)[:100]})") from error
        self._stack.append(value)

    def _build(self, _: Any) -> None:
        state, target = self._pop(), self._top()
        if type(target) is OrderedDict:
            # What torch keeps beside the tensors: the version of each module's way to save itself.
            metadata = state.get("_metadata") if type(state) is dict else None
            if type(metadata) in (dict, OrderedDict):
                target._metadata = _versions(metadata)  # type: ignore[attr-defined]
        elif isinstance(target, Stateful):
            target.set_state(state)
        else:
            raise Refused(f"setting the state of a {_kind(target)}", self._position)

    def _persistent_id(self, _: Any) -> None:
        if self._persistent is None:
            raise self._broken("refers to a storage where none can be")
        self._stack.append(self._persistent(self._pop()))

    def _broken(self, what: str) -> Broken:
        return Broken(f"its pickle {what} (byte {self._position})")


def check_key(key: Any) -> Any:
    """The key, when it may be one of a dict: text or a number. Raises Broken."""
    if type(key) not in _KEYS:
        raise Broken(f"a dict in its pickle has a key that is a {_kind(key)}")
    if isinstance(key, int) and abs(key) >= _MAX_KEY:
        raise Broken("a dict in its pickle has a key that is an integer beyond 60 bits")
    return key


def _versions(metadata: Mapping[Any, Any]) -> "OrderedDict[str, Dict[str, Any]]":
    """Only what load_state_dict reads: module name -> {'version': number}; and what dopt keeps there (quantized.py)."""
    kept: "OrderedDict[str, Dict[str, Any]]" = OrderedDict()
    for name, entry in metadata.items():
        version = entry.get("version") if type(entry) is dict else None
        if isinstance(name, str) and type(version) is int:
            kept[name] = {"version": version}
            if name == ENTRY and isinstance(entry.get("quantization"), str):
                kept[name]["quantization"] = entry["quantization"]
    return kept


def _kind(value: Any) -> str:
    return "global" if isinstance(value, Function) else "mark" if value is _MARK else type(value).__name__


def _describe(opcode: Any, stream: BinaryIO) -> str:
    """What a refused opcode wanted; the arguments of others are not even decoded."""
    if opcode.name == "INST":
        return str(opcode.arg.reader(stream))[:200].replace(" ", ".", 1)
    if opcode.name.startswith("EXT"):
        return f"entry {opcode.arg.reader(stream)} of the registry of extensions"
    return f"the pickle instruction {opcode.name}"


_STEPS: Dict[str, Callable[[Machine, Any], Any]] = {
    "PROTO": Machine._protocol,
    "BINSTRING": Machine._legacy_string,
    "SHORT_BINSTRING": Machine._legacy_string,
    "MARK": Machine._mark,
    "POP": lambda machine, _: machine._stack.pop() if machine._stack else machine._pop(),
    "POP_MARK": Machine._pop_mark,
    "DUP": lambda machine, _: machine._stack.append(machine._top()),
    "TUPLE": lambda machine, _: machine._stack.append(tuple(machine._pop_mark())),
    "TUPLE1": lambda machine, _: machine._tuple(1),
    "TUPLE2": lambda machine, _: machine._tuple(2),
    "TUPLE3": lambda machine, _: machine._tuple(3),
    "LIST": lambda machine, _: machine._stack.append(machine._pop_mark()),
    "FROZENSET": lambda machine, _: machine._stack.append(frozenset(map(check_key, machine._pop_mark()))),
    "APPEND": lambda machine, _: machine._append([machine._pop()]),
    "APPENDS": lambda machine, _: machine._append(machine._pop_mark()),
    "ADDITEMS": lambda machine, _: machine._add(machine._pop_mark()),
    "SETITEM": lambda machine, _: machine._set_items([machine._pop(), machine._pop()][::-1]),
    "SETITEMS": lambda machine, _: machine._set_items(machine._pop_mark()),
    "MEMOIZE": lambda machine, _: machine._remember(None),
    "BINPUT": Machine._remember,
    "LONG_BINPUT": Machine._remember,
    "BINGET": Machine._recall,
    "LONG_BINGET": Machine._recall,
    "GLOBAL": Machine._global,
    "STACK_GLOBAL": Machine._stack_global,
    "REDUCE": Machine._call,
    "NEWOBJ": Machine._call,
    "BUILD": Machine._build,
    "BINPERSID": Machine._persistent_id,
}
_KNOWN = {"STOP", *_VALUES, *_CONSTANTS, *_EMPTY, *_IGNORED, *_STEPS}
_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
