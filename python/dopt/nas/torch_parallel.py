"""Shared weights that several processes train together in PyTorch, each on its share of every batch.

torchrun starts the processes and starts them once more when one dies; they go on from the last finished epoch. Gradients are
averaged before each step (Li et al., "PyTorch Distributed", VLDB 2020, section 2.2). The batch is that of the scenario however
many there are, so the learning rate is too; statistics of normalizations are those of each share.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List

from dopt.errors import Cancelled, DoptError
from dopt.events import Events
from dopt.nas.scoring import write_whole

#: Seconds between two looks at what the processes say.
LOOK = 0.2
#: Times that torchrun starts all processes again.
RESTARTS = 1
PROGRESS, FAILURE, RESULT = "progress.json", "failure.json", "result.json"


def train_together(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``nasTrain`` in as many processes as ``places`` has: the index of a GPU each, or None for the processor.

    Raises what one process would raise, and DoptError NAS_PROCESSES when they end without a result.
    """
    with tempfile.TemporaryDirectory(prefix="dopt-together-") as folder:
        _write(os.path.join(folder, "params.json"), params)
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={len(params['places'])}",
                   f"--max_restarts={RESTARTS}", "-m", "dopt.nas.torch_parallel", folder]
        with open(os.path.join(folder, "log"), "wb") as log:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                _watch(process, folder, events)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        return _outcome(folder)


def _watch(process: Any, folder: str, events: Any) -> None:
    said = None
    while process.poll() is None:
        time.sleep(LOOK)
        now = _read(os.path.join(folder, PROGRESS))
        if now is not None and now != said:
            said = now
            events.progress(*now)
        else:
            events.check_cancelled()


def _outcome(folder: str) -> Dict[str, Any]:
    result, failure = (_read(os.path.join(folder, name)) for name in (RESULT, FAILURE))
    if result is not None:
        return result
    if failure is not None:
        raise DoptError(**failure)
    with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as log:
        last = log.read()[-2000:]
    raise DoptError("NAS_PROCESSES", "The processes that train shared weights together ended.", kind="external", found=last,
                    suggestions=["Name one device in gpu_id, or repeat the command: it goes on from the last finished epoch."])


def _read(path: str) -> Any:
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _write(path: str, value: Any) -> None:
    write_whole(path, lambda file: file.write(json.dumps(value).encode("utf-8")))


class _Progress(Events):
    """Events of one process: what the first one says is written for the parent to read."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path, self._next = path, 0.0

    def progress(self, done: float, total: Any, message: str = "") -> None:
        if time.monotonic() >= self._next:
            _write(self._path, [done, total, message])
            self._next = time.monotonic() + LOOK


def share_of(batches: Any) -> Any:
    """Lists of indices as a process gets them: every n-th of each batch; all of it where there is one process."""
    import torch.distributed as group

    if not (group.is_available() and group.is_initialized()):
        return batches
    return _Share(batches, group.get_rank(), group.get_world_size())


class _Share:
    def __init__(self, batches: Any, rank: int, count: int) -> None:
        self._batches, self._rank, self._count = batches, rank, count

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Any:
        return (batch[self._rank::self._count] for batch in self._batches)


def is_first() -> bool:
    """Whether this process is the one that writes."""
    import torch.distributed as group

    return not (group.is_available() and group.is_initialized()) or group.get_rank() == 0


def average_gradients(network: Any) -> None:
    """Makes the gradients of all processes their mean."""
    import torch
    import torch.distributed as group

    if not (group.is_available() and group.is_initialized()):
        return
    gradients: List[Any] = [each.grad for each in network.parameters()]
    together = torch.cat([each.flatten() for each in gradients])
    group.all_reduce(together)
    together /= group.get_world_size()
    at = 0
    for each in gradients:
        each.copy_(together[at:at + each.numel()].view_as(each))
        at += each.numel()


def wait_for_all() -> None:
    """Returns when every process has come here."""
    import torch.distributed as group

    if group.is_available() and group.is_initialized():
        group.barrier()


def main(folder: str) -> int:
    """One of the processes that torchrun starts."""
    import torch.distributed as group

    from dopt.nas.torch_train import train

    if os.path.exists(os.path.join(folder, FAILURE)):
        return 1
    params = _read(os.path.join(folder, "params.json"))
    place = params["places"][int(os.environ["LOCAL_RANK"])]
    if place is not None:
        import torch

        torch.cuda.set_device(place)  # else NCCL takes the device of the process's number
    group.init_process_group("gloo" if place is None else "nccl")
    try:
        events = _Progress(os.path.join(folder, PROGRESS)) if is_first() else Events()
        result = train({**params, "gpu": place, "places": [place]}, events)
        if is_first():
            _write(os.path.join(folder, RESULT), result)
    except (DoptError, Cancelled) as error:
        if isinstance(error, DoptError):
            fields = ("code", "message", "kind", "place", "suggestions", "found")
            _write(os.path.join(folder, FAILURE), {name: getattr(error, name) for name in fields})
        return 1
    group.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
