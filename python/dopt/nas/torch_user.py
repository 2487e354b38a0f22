"""The user's part of a search in PyTorch."""

from typing import Any

from dopt.nas import user as shared
from dopt.nas.user import Interface

INTERFACE = Interface(
    "PyTorch",
    ("dataset_define", "scheduler_define", "metrics_func", "loss_func"),
    """class UserModule:
    def __init__(self, epoch, batch_size): ...
    def dataset_define(self, dir, is_training): ...          # a torch.utils.data.Dataset
    def scheduler_define(self, optimizer, steps_per_epoch): ...
    def metrics_func(self, eval_dataloader, eval_function): ...  # a number, more is better
    def loss_func(self, labels, logits): ...
class PreNet(torch.nn.Module):   # forward(self, inputs)
class PostNet(torch.nn.Module):  # forward(self, inputs)""",
)


def load(folder: str) -> Any:
    """The user's module. Raises DoptError NAS_USER_MODULE."""
    return shared.load(folder, INTERFACE)


def dataset(user: Any, folder: str, training: bool) -> Any:
    """The user's dataset of a folder. Raises DoptError NAS_DATASET when the folder is not there or the dataset empty."""
    shared.check_folder(folder)
    found = user.dataset_define(folder, training)
    if len(found) == 0:
        raise shared.nothing_in(folder, "dataset_define")
    return found
