"""Where a language model runs: on the processor, or on the GPU that was asked for."""

import contextlib
from typing import Any, Dict, Iterator, NamedTuple

from dopt.gpu import memory_explained, torch_device

#: What is done about the memory of a GPU.
SMALLER = [
    "Send less through a block at a time: --batch 1.",
    "Calibrate with less: --samples, --length.",
    "Leave --device cuda out: the processor's memory serves.",
]


class Place(NamedTuple):
    """A device, who solves weights there (``dopt.llm.rows``), and how many batches go through a block at a time."""

    device: Any
    rows: Any
    threads: int

    def put(self, array: Any) -> Any:
        """A numpy array as a tensor of the device."""
        import torch

        return torch.from_numpy(array).to(self.device)


@contextlib.contextmanager
def place_of(params: Dict[str, Any]) -> Iterator[Place]:
    """The place that ``gpu`` (the index of one, None for the processor) and ``threads`` name, for as long as work goes on there.

    Raises DoptError GPU_UNAVAILABLE, and GPU_MEMORY where the work does not fit.
    """
    import torch

    from dopt import native
    from dopt.llm.rows import DeviceRows, HostRows

    device = torch_device(params.get("gpu"))
    torch.set_num_threads(1)  # threads work on different batches, so that results do not depend on their number
    core = native.load()
    core.set_threads(params["threads"])
    on_host, host = device.type == "cpu", HostRows(core)
    with memory_explained(device, SMALLER):
        # A GPU takes one batch after the other: it is one queue, and more of them only wait with what they hold.
        yield Place(device, host if on_host else DeviceRows(host), params["threads"] if on_host else 1)
