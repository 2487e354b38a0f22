"""Several processes that train one model: each works on its share of the samples, gradients are summed.

A group of one does nothing. Larger ones are made in two ways: by torchrun, which sets RANK and WORLD_SIZE, or by a process
that starts the others itself (``Processes.start``): ``python -m dopt.llm.processes job.json`` takes part in the same method.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from typing import Any, Dict, Iterator, List, Optional

from dopt.errors import DoptError
from dopt.events import Events
from dopt.lifetime import die_with_parent

#: Seconds that processes wait for each other: the first one judges and writes while the others wait.
PATIENCE = 1800


class Processes:
    """A process's place among those that train together: ``rank`` 0 judges, tells and writes."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this process tells and writes."""
        return self.rank == 0

    def gpu(self, first: Optional[int]) -> Optional[int]:
        """The index of this process's GPU where that of the first one is ``first``: each has one of its own."""
        return None if first is None else first + int(os.environ.get("LOCAL_RANK", self.rank))

    def share(self, items: List[int]) -> List[int]:
        """What of a list this process works on; the shares of all are the whole list."""
        return items[self.rank :: self.size]

    def sum(self, tensors: List[Any]) -> None:
        """Puts the sum over all processes into each tensor; all call with tensors of the same shapes."""
        if self.size == 1:
            return
        import torch.distributed

        for tensor in tensors:
            torch.distributed.all_reduce(tensor)

    def total(self, value: float) -> float:
        """The sum over all processes of a number."""
        import torch

        if self.size == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64)
        self.sum([tensor])
        return float(tensor)

    def gather(self, rows: Any, count: int) -> Any:
        """The rows of ``count`` items in their order, where every process has those of its ``share``."""
        import torch
        import torch.distributed

        if self.size == 1:
            return rows
        whole = torch.empty((count, *rows.shape[1:]), dtype=rows.dtype, device=rows.device)
        for rank in range(self.size):
            part = rows if rank == self.rank else torch.empty_like(whole[rank :: self.size])
            torch.distributed.broadcast(part.contiguous(), rank)
            whole[rank :: self.size] = part
        return whole


@contextlib.contextmanager
def together(count: int, method: str, params: Dict[str, Any]) -> Iterator[Processes]:
    """The group that runs ``method`` (of dopt.methods) with ``params``, and the processes it needs beside this one.

    Raises DoptError LLM_PROCESS when one of them ends before its time.
    """
    if "WORLD_SIZE" in os.environ:
        with _joined() as group:
            yield group
        return
    if count == 1:
        yield Processes()
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = os.path.join(folder, "job.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"method": method, "params": params}, file)
        os.environ.update(_addresses(0, count, _free_port()))
        others: List[Any] = []
        try:
            for rank in range(1, count):
                others.append(_start(path, rank))
            group = stack.enter_context(_joined())
            try:
                yield group
            except RuntimeError as error:
                if any(other.poll() not in (None, 0) for other in others):
                    raise _ended(others) from error
                raise
        finally:
            for key in _addresses(0, count, 0):
                os.environ.pop(key, None)
            for other in others:
                _wait(other)


@contextlib.contextmanager
def _joined() -> Iterator[Processes]:
    """This process as the environment says, in a group that exchanges tensors of the processor or of GPUs."""
    from datetime import timedelta

    import torch.distributed

    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=PATIENCE))
    try:
        yield Processes(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()


def _addresses(rank: int, count: int, port: int) -> Dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _start(path: str, rank: int) -> Any:
    """Another process; what it prints goes where this one's errors go."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "RANK": str(rank), "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([sys.executable, "-m", "dopt.llm.processes", path], env=environment, stdout=sys.stderr)


def _wait(other: Any) -> None:
    try:
        other.wait(timeout=10)
    except subprocess.TimeoutExpired:
        other.kill()
        other.wait()


def _ended(others: List[Any]) -> DoptError:
    statuses = [str(other.returncode) for other in others if other.returncode]
    return DoptError(
        "LLM_PROCESS",
        "A process that trained along has ended before its time.",
        kind="external",
        found=f"exit status {', '.join(statuses)}",
        suggestions=["Its last lines are in python.log of the run folder.", "Try fewer processes: each holds the embedding, and what lies between the layers of its samples."],
    )


def main(arguments: List[str]) -> int:
    """Takes part in the job of a file; ends with the process that wrote it."""
    from dopt.methods import resolve

    die_with_parent()
    with open(arguments[0], encoding="utf-8") as file:
        job = json.load(file)
    resolve(job["method"])(job["params"], Events())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
