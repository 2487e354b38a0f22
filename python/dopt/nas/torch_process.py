"""One of the processes that torchrun starts for ``torch_parallel``: ``python -m dopt.nas.torch_process FOLDER``."""

import os
import sys
import time
from typing import Any

from dopt.errors import Cancelled, DoptError
from dopt.events import Events
from dopt.nas.torch_parallel import FAILURE, LOOK, PROGRESS, RESULT, is_first, read, write
from dopt.nas.torch_train import train


class _Progress(Events):
    """Events of one process: what the first one says is written for the parent to read."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path, self._next = path, 0.0

    def progress(self, done: float, total: Any, message: str = "") -> None:
        if time.monotonic() >= self._next:
            write(self._path, [done, total, message])
            self._next = time.monotonic() + LOOK


def main(folder: str) -> int:
    """One of the processes that torchrun starts."""
    import torch.distributed as group

    if os.path.exists(os.path.join(folder, FAILURE)):
        return 1
    params = read(os.path.join(folder, "params.json"))
    place = params["places"][int(os.environ["LOCAL_RANK"])]
    if place is not None:
        import torch

        torch.cuda.set_device(place)  # else NCCL takes the device of the process's number
    group.init_process_group("gloo" if place is None else "nccl")
    try:
        events = _Progress(os.path.join(folder, PROGRESS)) if is_first() else Events()
        result = train({**params, "gpu": place, "places": [place]}, events)
        if is_first():
            write(os.path.join(folder, RESULT), result)
    except (DoptError, Cancelled) as error:
        if isinstance(error, DoptError):
            fields = ("code", "message", "kind", "place", "suggestions", "found")
            write(os.path.join(folder, FAILURE), {name: getattr(error, name) for name in fields})
        return 1
    group.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
