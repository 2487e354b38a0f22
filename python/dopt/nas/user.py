"""The user's part of a search: user_module.py with UserModule, PreNet and PostNet, in either framework."""

import importlib.util
import os
import sys
from typing import Any, Dict, List, NamedTuple, Tuple

from dopt.errors import DoptError


class Interface(NamedTuple):
    """What a framework's user_module.py has: methods of UserModule, and a skeleton that shows all of it."""

    framework: str
    methods: Tuple[str, ...]
    skeleton: str


def load(folder: str, interface: Interface) -> Any:
    """Imports ``user_module.py`` of a folder and checks that it has what a search needs.

    Raises DoptError NAS_USER_MODULE: no such file, an error on import, or a class or method that is missing.
    """
    path = os.path.join(folder, "user_module.py")
    if not os.path.exists(path):
        raise _wrong(f"There is no {path}.", path, interface)
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("user_module", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules["user_module"] = module
    try:
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except Exception as error:  # noqa: BLE001 - the user's file may raise anything.
        raise _wrong(f"{path} cannot be imported: {type(error).__name__}: {error}", path, interface) from error
    missing = [name for name in ("UserModule", "PreNet", "PostNet") if not hasattr(module, name)]
    if not missing:
        found = module.UserModule
        missing = [f"UserModule.{name}" for name in interface.methods if not callable(getattr(found, name, None))]
    if missing:
        raise _wrong(f"{path} lacks {', '.join(missing)}.", path, interface)
    return module


def _wrong(message: str, path: str, interface: Interface) -> DoptError:
    advice = f"A search in {interface.framework} needs:\n{interface.skeleton}"
    return DoptError("NAS_USER_MODULE", message, place=path, suggestions=[advice])


def check_folder(folder: str) -> None:
    """Raises DoptError NAS_DATASET when a data folder is not there."""
    if not os.path.isdir(folder):
        raise DoptError("NAS_DATASET", f"The data folder {folder} does not exist.", place=folder,
                        suggestions=["Set train_dir and val_dir in scen.yaml."])


def nothing_in(folder: str, method: str) -> DoptError:
    """The error of a data folder in which the user's method finds no sample."""
    return DoptError("NAS_DATASET", f"{method} finds nothing in {folder}.", place=folder,
                     suggestions=[f"Check the folder and the patterns that {method} looks for."])


def not_a_number(method: str, value: float) -> DoptError:
    """The error of a loss that is no number."""
    return DoptError("NAS_LOSS", f"{method} gives {value}.", place="user_module.py", suggestions=[
        f"Lower learning_rate in scen.yaml, or look for a division by zero or a logarithm in {method}."])


def fails_on(name: str, shapes: List[Any], error: BaseException) -> DoptError:
    """The error of a fixed part that cannot compute on its input."""
    return DoptError("NAS_NETWORK", f"{name} fails on an input of {shapes}: {error}", place="user_module.py",
                     suggestions=["Check input_shape, filters and strides in scen.yaml against user_module.py."])


def score_of(value: Any) -> float:
    """What a metric returned as a number: it may be a number, a tensor, or a sequence that begins with one."""
    if isinstance(value, (tuple, list)):
        value = value[0]
    if isinstance(value, Dict):
        value = next(iter(value.values()))
    return float(value)


def names(layers: List[Dict[str, Any]]) -> str:
    """A network in a line, for messages."""
    return " ".join(f"{each['block']}{each['kernel']}x{each['out']}" for each in layers)
