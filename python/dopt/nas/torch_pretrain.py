"""What shared weights begin with in PyTorch: those of an earlier search, or of a classification of other pictures."""

import os
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional

from dopt.errors import DoptError
from dopt.nas.torch_run import Run

CHECKPOINT = "supernet.pth"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
#: Mean and deviation of photographs (those of ImageNet), for pictures that the user's own module does not read.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def begin_from(params: Dict[str, Any], train: Callable[[Run, Optional[str]], Any]) -> Optional[str]:
    """The folder of the weights to begin with, None for none.

    ``preTrainFolder`` is that folder itself, or holds pictures in one folder a class: then the same layers learn to tell
    these apart first (as DetNAS does: Chen et al., NeurIPS 2019, section 3.2), by ``train``. Raises DoptError NAS_DATASET.
    """
    folder = params["preTrainFolder"]
    if folder is None or os.path.exists(os.path.join(folder, CHECKPOINT)):
        return folder
    own = os.path.join(os.path.dirname(params["checkpoint"]), "pre-training")
    os.makedirs(own, exist_ok=True)
    run = Run({**params, "features": [], "application": "image_classification", "trainFolder": folder,
               "checkpoint": os.path.join(own, CHECKPOINT)})
    run.module, run.user = _classification(run)
    train(run, None)
    return own


def load_layers(network: Any, path: str) -> None:
    """Takes the weights of PreNet and of the layers from a checkpoint. Raises DoptError NAS_PRE_TRAIN when none fits."""
    import torch

    state = torch.load(path, map_location="cpu")["network"]
    own = network.state_dict()
    fitting = {name: value for name, value in state.items()
               if not name.startswith("post_net.") and name in own and own[name].shape == value.shape}
    if not any(name.startswith("layers.") for name in fitting):
        raise DoptError("NAS_PRE_TRAIN", "The weights in pre_train_dir are those of other layers.", place=path, suggestions=[
            "Give the log_search of a search with the same filters and strides, or a folder with one folder of pictures a class."])
    network.load_state_dict(fitting, strict=False)


def _classification(run: Run) -> Any:
    """A module and a UserModule that classify the pictures of folders, with the user's PreNet and scheduler."""
    from torch import nn

    module, folder = run.module, run.params["trainFolder"]
    names = sorted(each for each in os.listdir(folder) if os.path.isdir(os.path.join(folder, each))) if os.path.isdir(folder) else []
    if len(names) < 2:
        raise DoptError("NAS_DATASET", f"{folder} has no folders of pictures, one a class, and no {CHECKPOINT}.", place=folder,
                        suggestions=["Set pre_train_dir to a folder of them, or to the log_search of an earlier search."])
    (channels,) = {layer["out"] for layer in run.params["largest"][-1].values()}

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classes = nn.Linear(channels, len(names))

        def forward(self, inputs: Any) -> Any:
            return self.classes(inputs.mean((2, 3)))

    def user(epochs: int, batch_size: int) -> Any:
        theirs = module.UserModule(epochs, batch_size)
        return SimpleNamespace(
            dataset_define=lambda dir, is_training: _pictures(dir, names, run.params["inputShape"]),
            scheduler_define=theirs.scheduler_define,
            loss_func=lambda labels, logits: nn.functional.cross_entropy(logits, labels),
        )

    parts = SimpleNamespace(PreNet=module.PreNet, PostNet=Head, UserModule=user)
    return parts, user(run.params["epochs"], run.params["batchSize"])


def _pictures(folder: str, names: List[str], shape: List[int]) -> Any:
    import numpy as np
    import torch
    from PIL import Image

    height, width, _ = shape
    files = [(os.path.join(folder, name, file), kind) for kind, name in enumerate(names)
             for file in sorted(os.listdir(os.path.join(folder, name))) if file.lower().endswith(SUFFIXES)]

    class Pictures(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> Any:
            path, kind = files[index]
            with Image.open(path) as opened:
                picture = np.asarray(opened.convert("RGB").resize((width, height), Image.BILINEAR), np.float32)
            scaled = (picture / 255 - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
            tensor = torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))
            return (tensor.flip(2) if torch.rand(()) < 0.5 else tensor), kind

    return Pictures()
