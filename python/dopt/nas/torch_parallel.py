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

from dopt.errors import DoptError
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
        write(os.path.join(folder, "params.json"), params)
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
        command = [sys.executable, "-m", "dopt.nas.torch_launch", "--standalone", f"--nproc_per_node={len(params['places'])}",
                   f"--max_restarts={RESTARTS}", "-m", "dopt.nas.torch_process", folder]
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
        now = read(os.path.join(folder, PROGRESS))
        if now is not None and now != said:
            said = now
            events.progress(*now)
        else:
            events.check_cancelled()


def _outcome(folder: str) -> Dict[str, Any]:
    result, failure = (read(os.path.join(folder, name)) for name in (RESULT, FAILURE))
    if result is not None:
        return result
    if failure is not None:
        raise DoptError(**failure)
    with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as log:
        last = log.read()[-2000:]
    raise DoptError("NAS_PROCESSES", "The processes that train shared weights together ended.", kind="external", found=last,
                    suggestions=["Name one device in gpu_id, or repeat the command: it goes on from the last finished epoch."])


def read(path: str) -> Any:
    """What a process wrote; None where it has not."""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def write(path: str, value: Any) -> None:
    """Puts a value where other processes read it, whole or not at all."""
    write_whole(path, lambda file: file.write(json.dumps(value).encode("utf-8")))


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
