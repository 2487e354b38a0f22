"""What can be wrong with a weights file, each as an exception that knows no path, and the error that the user sees."""

import os
from typing import List, Optional

from dopt.errors import DoptError

#: Modules as a pickle of protocol 2 spells them -> as the user knows them. What is not here is shown as it stands.
_SPELLINGS = {"posix": "os", "nt": "os", "__builtin__": "builtins", "commands": "subprocess", "copy_reg": "copyreg"}


class Broken(Exception):
    """The bytes contradict themselves; the text says where and how."""


class Refused(Exception):
    """The file asks for something that is not plain data.

    what: the global (``posix.system``) or the instruction. position: the byte of the pickle that asks for it.
    """

    def __init__(self, what: str, position: int = 0) -> None:
        super().__init__(what)
        self.what = what
        self.position = position


def familiar(name: str) -> str:
    """``posix.system`` -> ``os.system``: the name by which a person looks it up."""
    module, _, rest = name.partition(".")
    return f"{_SPELLINGS.get(module, module)}.{rest}" if rest else name


def refused(path: str, error: Refused) -> DoptError:
    """WEIGHTS_REFUSED with the global's name and the way to plain weights."""
    name = familiar(error.what)
    shown = f"'{name}'" if name == error.what else f"'{name}' (written as '{error.what}')"
    return DoptError(
        "WEIGHTS_REFUSED",
        f"{path} asks for {shown} at byte {error.position} of its pickle, which is not on the list of what plain weights "
        "need. Nothing of it was run.",
        place=path,
        suggestions=[
            *_special(error.what),
            "If you trust the file, write its weights alone where its project is installed: "
            f"checkpoint = torch.load({path!r}, map_location='cpu'); "
            f"torch.save(checkpoint['state_dict'], {_weights_name(path)!r}), with the key that it has.",
            "If you do not know who made the file, do not open it with torch.load.",
        ],
    )


def _special(name: str) -> List[str]:
    if "qtensor" in name or name.startswith("torch.Q"):
        return ["The tensors in it are quantized already: give the float weights that they were made from."]
    if "sparse" in name:
        return ["Sparse tensors are not read: save them with .to_dense()."]
    return []


def _weights_name(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0] + "-weights.pth"


def whole_module(path: str, name: str) -> DoptError:
    """WEIGHTS_WHOLE_MODULE with the two lines that write the weights alone."""
    return DoptError(
        "WEIGHTS_WHOLE_MODULE",
        f"{path} is a whole network, saved with torch.save(model){f' (class {name})' if name else ''}, and not its weights. "
        "Opening it means running code that the file names, so it was not opened.",
        place=path,
        suggestions=[
            "Where the network's own code can be imported, run once: "
            f"model = torch.load({path!r}, map_location='cpu'); "
            f"torch.save(model.state_dict(), {_weights_name(path)!r})",
            f"Then give {_weights_name(path)} as the weights, and the .py that defines the class as the model.",
        ],
    )


def torchscript(path: str, reason: str) -> DoptError:
    """WEIGHTS_TORCHSCRIPT: an archive of torch.jit.save whose tensors cannot be told from its code."""
    return DoptError(
        "WEIGHTS_TORCHSCRIPT",
        f"{path} is a TorchScript archive (torch.jit.save), not a file of weights: {reason}.",
        place=path,
        suggestions=["Give it as the model: it holds the network and the weights, and needs no .py."],
    )


def broken(path: str, reason: str) -> DoptError:
    """WEIGHTS_BROKEN: a damaged file, or one made to mislead."""
    return DoptError(
        "WEIGHTS_BROKEN",
        f"{path} is damaged: {reason}.",
        place=path,
        suggestions=["Compare its size with its source, and copy, download or save it again."],
    )


def not_weights(path: str, found: str, remedy: str) -> DoptError:
    """WEIGHTS_FORMAT: a whole file, of another kind."""
    return DoptError(
        "WEIGHTS_FORMAT",
        f"{path} is {found}; a file written by torch.save is expected.",
        place=path,
        suggestions=[remedy],
    )


def unreadable(path: str, error: Exception) -> DoptError:
    """WEIGHTS_NOT_FOUND or WEIGHTS_UNREADABLE."""
    if isinstance(error, FileNotFoundError):
        return DoptError(
            "WEIGHTS_NOT_FOUND", f"There is no file {path}.", place=path, suggestions=["Check the path of the weights."]
        )
    reason: Optional[object] = getattr(error, "strerror", None)
    return DoptError(
        "WEIGHTS_UNREADABLE",
        f"Cannot read {path}: {reason or error}.",
        place=path,
        suggestions=["Check its permissions."],
    )
