"""Weights files of PyTorch, read without running anything that they contain. ``torch.load`` is not used.

A .pth is a pickle: a program that says which functions to call. Here a machine of our own carries it out that can only make
plain data (unpickler.py), over a list of allowed names (allowed.py), and every offset, length and count in the file is
checked against its size (storages.py).
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from dopt.doors.torch import refusals
from dopt.doors.torch.allowed import ScriptModule
from dopt.doors.torch.entry import detach
from dopt.doors.torch.legacy import NotLegacy, read_legacy
from dopt.doors.torch.refusals import Broken, Refused
from dopt.doors.torch.storages import Source
from dopt.doors.torch.unwrap import find_state
from dopt.doors.torch.zip_archive import SIGNATURE, flatten, read_zip
from dopt.errors import DoptError

#: First bytes of other files -> what they are, and what to give instead.
_OTHERS = [
    (b"version https://git-lfs", "a Git LFS pointer and not the file itself", "Fetch the file: git lfs pull."),
    (b"\x89HDF\r\n", "an HDF5 file (Keras)", "Give a .h5 file as the model, without weights beside it."),
    (b"<", "a web page or XML", "Download the file anew; the address may need a login."),
    (b"\x1f\x8b", "compressed with gzip", "Unpack it first: gunzip FILE."),
    (b"BZh", "compressed with bzip2", "Unpack it first: bunzip2 FILE."),
    (b"\x93NUMPY", "a numpy array", "Save the weights with torch.save(model.state_dict(), 'weights.pth')."),
]
_RESAVE = "Save the weights with torch.save(model.state_dict(), 'weights.pth')."


class Checkpoint(NamedTuple):
    """A weights file, read.

    state: tensors on the CPU by name, detached, in the file's order and types; views of one storage stay views of one.
    quantization: that of a file that dopt wrote (entry.py), as plain data; None elsewhere.
    notes: what the user should know of how the weights were chosen.
    wrapper: the keys that lead to the weights in the file; none for a plain state dict.
    """

    state: Dict[str, Any]
    quantization: Optional[Dict[str, Any]]
    notes: List[str]
    wrapper: Tuple[str, ...]


def load_state_dict(path: str) -> Dict[str, Any]:
    """Tensors by name of a .pth, .pt or .th file. Raises as ``load_checkpoint``."""
    return load_checkpoint(path).state


def load_quantization(path: str) -> Optional[Dict[str, Any]]:
    """The quantization in a file that dopt wrote, None when there is none. Raises as ``load_checkpoint``."""
    return load_checkpoint(path).quantization


def load_checkpoint(path: str) -> Checkpoint:
    """Reads a weights file; memory is about its size, and nothing in it can run.

    Raises DoptError: WEIGHTS_REFUSED (asks for code or for types that are not weights), WEIGHTS_WHOLE_MODULE (a pickled
    network), WEIGHTS_TORCHSCRIPT, WEIGHTS_BROKEN (damaged), WEIGHTS_FORMAT (another kind of file), WEIGHTS_EMPTY (no
    tensors), WEIGHTS_NOT_FOUND, WEIGHTS_UNREADABLE.
    """
    try:
        with Source(path) as source:
            value, script = _read(path, source)
    except (OSError, ValueError) as error:
        raise refusals.unreadable(path, error) from error
    except Broken as error:
        raise refusals.broken(path, str(error)) from error
    notes = []
    if isinstance(value, ScriptModule):
        value = flatten(value)
        if not value:
            raise refusals.torchscript(path, "its parameters are constants of its code")
        notes.append(f"{path} is a TorchScript archive; its parameters and buffers were taken, its code was not.")
    found = find_state(value)
    if not found.state:
        raise _empty(path, value, script)
    quantization = _quantization(path, found.state)
    return Checkpoint(found.state, quantization, notes + [f"{path}: {note}" for note in found.notes], found.path)


def _read(path: str, source: Source) -> Tuple[Any, bool]:
    """The object in the file, and whether it is a TorchScript archive."""
    head = bytes(source.map[:300])
    try:
        if head.startswith(SIGNATURE):
            return read_zip(source)
        _refuse_other_formats(path, head, source.size)
        return read_legacy(source), False
    except NotLegacy as error:
        raise refusals.not_weights(path, "a pickle that torch.save did not write", _RESAVE) from error
    except Refused as error:
        if _is_module(source):
            raise refusals.whole_module(path, refusals.familiar(error.what)) from error
        if source.map.find(b"/constants.pkl") >= 0:
            raise refusals.torchscript(path, f"it needs '{refusals.familiar(error.what)}'") from error
        raise refusals.refused(path, error) from error


def _is_module(source: Source) -> bool:
    """Whether the pickle holds the attributes that every torch.nn.Module has. Only its text is searched."""
    return source.map.find(b"_parameters") >= 0 and source.map.find(b"_modules") >= 0


def _refuse_other_formats(path: str, head: bytes, size: int) -> None:
    if head[257:262] == b"ustar":
        raise refusals.not_weights(
            path,
            "in the tar format of torch 0.1.1 (2017)",
            "Open it once with torch 1.13 or older and save it again: "
            f"torch.save(torch.load({path!r}, map_location='cpu'), 'weights.pth'). That runs the file's code: only when you "
            "trust it.",
        )
    for start, found, remedy in _OTHERS:
        if head.startswith(start):
            raise refusals.not_weights(path, found, remedy)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        raise refusals.not_weights(
            path,
            "a safetensors file",
            f"Convert it: torch.save(safetensors.torch.load_file({path!r}), 'weights.pth').",
        )
    if head[:1] != b"\x80":
        raise refusals.not_weights(path, f"no PyTorch file (it begins with {head[:4]!r})", _RESAVE)


def _quantization(path: str, state: Any) -> Optional[Dict[str, Any]]:
    try:
        return detach(state)
    except (ValueError, AttributeError) as error:
        raise refusals.broken(path, f"its quantization is not what dopt writes: {error}") from error


def _empty(path: str, value: Any, script: bool) -> DoptError:
    if script:
        return refusals.torchscript(path, "no tensors with names were found in it")
    if isinstance(value, dict):
        names = ", ".join(repr(str(key)[:40]) for key in list(value)[:8]) or "nothing"
        held = f"a dictionary of {names}"
    else:
        held = f"one {type(value).__name__}"
    return DoptError(
        "WEIGHTS_EMPTY",
        f"{path} holds {held}; tensors by name were expected, at the top or under one of state_dict, model_state_dict, "
        "model, net, ema, weights.",
        place=path,
        suggestions=[_RESAVE],
    )
