"""What shared weights begin with in PyTorch: those of an earlier search, or of a classification of other pictures."""

from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional

from dopt.nas import pretrain
from dopt.nas.torch_run import Run

CHECKPOINT = "supernet.pth"


def begin_from(params: Dict[str, Any], train: Callable[[Run, Optional[str]], Any]) -> Optional[str]:
    """The folder of the weights to begin with, None for none; what is to be learned before is learned by ``train``.

    Raises DoptError NAS_DATASET.
    """

    def learn(changed: Dict[str, Any]) -> None:
        run = Run(changed)
        run.module, run.user = _classification(run)
        train(run, None)

    return pretrain.begin_from(params, CHECKPOINT, learn)


def load_layers(network: Any, path: str) -> None:
    """Takes the weights of PreNet and of the layers from a checkpoint. Raises DoptError NAS_PRE_TRAIN when none fits."""
    import torch

    state = torch.load(path, map_location="cpu")["network"]
    own = network.state_dict()
    fitting = {name: value for name, value in state.items()
               if not name.startswith("post_net.") and name in own and own[name].shape == value.shape}
    if not any(name.startswith("layers.") for name in fitting):
        raise pretrain.other_layers(path)
    network.load_state_dict(fitting, strict=False)


def _classification(run: Run) -> Any:
    """A module and a UserModule that classify the pictures of folders, with the user's PreNet and scheduler."""
    from torch import nn

    module, folder = run.module, run.params["trainFolder"]
    names = pretrain.class_folders(folder, CHECKPOINT)
    channels = pretrain.channels_of(run.params)

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

    height, width, _ = shape
    files = pretrain.pictures(folder, names)

    class Pictures(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> Any:
            path, kind = files[index]
            picture = pretrain.read_picture(path, height, width)
            tensor = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
            return (tensor.flip(2) if torch.rand(()) < 0.5 else tensor), kind

    return Pictures()
