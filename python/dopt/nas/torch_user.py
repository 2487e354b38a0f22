"""The user's part of a search in PyTorch: user_module.py with UserModule, PreNet and PostNet."""

import importlib.util
import os
import sys
from typing import Any, Dict, List

from dopt.errors import DoptError

METHODS = ("dataset_define", "scheduler_define", "metrics_func", "loss_func")

SKELETON = """class UserModule:
    def __init__(self, epoch, batch_size): ...
    def dataset_define(self, dir, is_training): ...          # a torch.utils.data.Dataset
    def scheduler_define(self, optimizer, steps_per_epoch): ...
    def metrics_func(self, eval_dataloader, eval_function): ...  # a number, more is better
    def loss_func(self, labels, logits): ...
class PreNet(torch.nn.Module):   # forward(self, inputs)
class PostNet(torch.nn.Module):  # forward(self, inputs)"""


def load(folder: str) -> Any:
    """Imports ``user_module.py`` of a folder and checks that it has what a search needs.

    Raises DoptError NAS_USER_MODULE: no such file, an error on import, or a class or method that is missing.
    """
    path = os.path.join(folder, "user_module.py")
    if not os.path.exists(path):
        raise _wrong(f"There is no {path}.", path)
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("user_module", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules["user_module"] = module
    try:
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except Exception as error:  # noqa: BLE001 - the user's file may raise anything.
        raise _wrong(f"{path} cannot be imported: {type(error).__name__}: {error}", path) from error
    missing = [name for name in ("UserModule", "PreNet", "PostNet") if not hasattr(module, name)]
    if not missing:
        missing = [f"UserModule.{name}" for name in METHODS if not callable(getattr(module.UserModule, name, None))]
    if missing:
        raise _wrong(f"{path} lacks {', '.join(missing)}.", path)
    return module


def _wrong(message: str, path: str) -> DoptError:
    return DoptError("NAS_USER_MODULE", message, place=path, suggestions=[f"A search in PyTorch needs:\n{SKELETON}"])


def dataset(user: Any, folder: str, training: bool) -> Any:
    """The user's dataset of a folder. Raises DoptError NAS_DATASET when the folder is not there or the dataset empty."""
    if not os.path.isdir(folder):
        raise DoptError("NAS_DATASET", f"The data folder {folder} does not exist.", place=folder,
                        suggestions=["Set train_dir and val_dir in scen.yaml."])
    found = user.dataset_define(folder, training)
    if len(found) == 0:
        raise DoptError("NAS_DATASET", f"dataset_define finds nothing in {folder}.", place=folder,
                        suggestions=["Check the folder and the patterns that dataset_define looks for."])
    return found


def score_of(value: Any) -> float:
    """What metrics_func returned as a number: it may be a number, a tensor, or a sequence that begins with one."""
    if isinstance(value, (tuple, list)):
        value = value[0]
    if isinstance(value, Dict):
        value = next(iter(value.values()))
    return float(value)


def names(layers: List[Dict[str, Any]]) -> str:
    """A network in a line, for messages."""
    return " ".join(f"{each['block']}{each['kernel']}x{each['out']}" for each in layers)
