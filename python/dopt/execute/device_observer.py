"""Observers of tensors that lie on a device: nothing but counters comes back to the processor.

With the CUDA core its kernels count (docs/cuda.md); without it PyTorch does, tensor by tensor. Both have the bins of the
native core: counts, extremes and what was not finite are the same numbers, sums run in another order.
"""

import contextlib
import math
import time
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from dopt.execute.observer import Observer, note_nonfinite
from dopt.native_numpy import NumpyHistogramSet


class TorchHistogramSet(NumpyHistogramSet):
    """Histograms of torch tensors: what is counted on the device is added to counts of the processor."""

    def on_processor(self) -> NumpyHistogramSet:
        """This set: it lies there."""
        return self

    def update_tensors(self, tensors: Sequence[Any]) -> None:
        """Adds ``tensors[i]``, float32, to histogram i."""
        for index, tensor in enumerate(tensors):
            self._count(index, tensor.reshape(-1))

    def nonfinite(self) -> Any:
        """NaN and infinities seen so far, uint64 [n]."""
        import numpy as np

        return np.array([state["nans"] + state["infinities"] for state in self._states], np.uint64)

    def _count(self, index: int, x: Any) -> None:
        import numpy as np
        import torch

        if x.numel() == 0:
            return
        state = self._states[index]
        finite = torch.isfinite(x)
        wide = x.masked_fill(~finite, 0.0).double()
        low, high = x.masked_fill(~finite, math.inf).min(), x.masked_fill(~finite, -math.inf).max()
        seen = [finite.sum(), torch.isnan(x).sum(), (finite & (x == 0)).sum(), low, high, wide.sum(), (wide * wide).sum()]
        count, nans, zeros, low, high, total, squares = torch.stack([each.double() for each in seen]).tolist()
        state["nans"] += int(nans)
        state["infinities"] += int(x.numel() - count - nans)
        if count == 0:
            return
        self._widen(index, low, high)
        state["count"] += int(count)
        state["zeros"] += int(zeros)
        state["sum"] += total
        state["sumSquares"] += squares
        grid = state["histogram"]
        if count > zeros:
            counted = wide[finite & (x != 0)]
            slots = torch.floor(counted / grid["width"]).to(torch.int64) - grid["base"]
            self._counts[index] += torch.bincount(slots, minlength=grid["bins"]).cpu().numpy().astype(np.uint64)


class CoreHistogramSet:
    """Histograms that the CUDA core keeps on a device."""

    def __init__(self, core: Any, n: int, bins: int, device: Any) -> None:
        import torch

        from dopt.native_cuda import STATE_BYTES

        self._core, self._device = core, device
        self._states = torch.zeros(n, STATE_BYTES, dtype=torch.uint8, device=device)
        self._counts = torch.zeros(n, bins, dtype=torch.int64, device=device)
        with self._stream():
            core.histogram_init(self._states, self._counts)

    def update_tensors(self, tensors: Sequence[Any]) -> None:
        """Adds ``tensors[i]``, float32, to histogram i."""
        with self._stream():
            self._core.histogram_update(self._states, self._counts, tensors)
            self._core.synchronize()

    @contextlib.contextmanager
    def _stream(self) -> Iterator[None]:
        """While the core works where PyTorch does: what it counts was computed before it."""
        import torch

        with torch.cuda.device(self._device), self._core.on(torch.cuda.current_stream().cuda_stream):
            yield

    def nonfinite(self) -> Any:
        """NaN and infinities seen so far, uint64 [n]."""
        import numpy as np

        return np.array([state["nans"] + state["infinities"] for state in self.states()], np.uint64)

    def on_processor(self) -> NumpyHistogramSet:
        """The same histograms where others can be added to them."""
        counts = self.counts()
        copy = NumpyHistogramSet(*counts.shape)
        copy.restore(self.states(), counts)
        return copy

    def states(self) -> List[Dict[str, Any]]:
        """One JSON-ready dict a tensor, as in statistics.json."""
        return states_in(self._states.cpu().numpy().tobytes(), len(self._states))

    def counts(self) -> Any:
        """The counts, uint64 [n, bins]."""
        return self._counts.cpu().numpy().astype("uint64")


def states_in(content: bytes, n: int) -> List[Dict[str, Any]]:
    """States of ``n`` histograms that follow each other in memory (``HistogramState``)."""
    from dopt.native import state_of
    from dopt.native_abi import HistogramState

    return [state_of(each) for each in (HistogramState * n).from_buffer_copy(content)]


class DeviceLane:
    """Runs samples one after the other on a device and observes there; the counterpart of ``observer.Lane``."""

    def __init__(self, inner: Any, histograms: Any, device: Any) -> None:
        self.histograms, self._inner, self._device = histograms, inner, device
        self.inference_seconds = self.observer_seconds = 0.0
        self.bad: Dict[int, List[Tuple[int, str]]] = {}
        self.bad_counts: Dict[int, int] = {}
        self._nonfinite = histograms.nonfinite()

    def add(self, number: int, name: str, feeds: Dict[str, Any]) -> None:
        """Runs and observes one sample. Raises DoptError(EXECUTOR_RUN, external) naming it."""
        import torch

        begin = time.perf_counter()
        tensors = [torch.from_numpy(feeds[key]).to(self._device) for key in self._inner.inputs]
        if self._inner.outputs:
            found = self._run(name, feeds)
            tensors += [found[each] for each, _ in self._inner.outputs]
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        ran = time.perf_counter()
        self.histograms.update_tensors([each.to(self._device).float().contiguous() for each in tensors])
        nonfinite = self.histograms.nonfinite()
        note_nonfinite(self, number, name, (nonfinite != self._nonfinite).nonzero()[0].tolist())
        self._nonfinite = nonfinite
        self.observer_seconds += time.perf_counter() - ran
        self.inference_seconds += ran - begin

    def _run(self, name: str, feeds: Dict[str, Any]) -> Dict[str, Any]:
        from dopt.errors import DoptError

        session = self._inner.session
        try:
            return dict(zip(session.names, session.tensors(feeds)))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if "out of memory" in str(error):
                raise
            raise DoptError("EXECUTOR_RUN", f"PyTorch failed on sample {name}: {error}", kind="external", place=name) from error


class DeviceObserver(Observer):
    """Observes the tensors of ``InnerSession`` whose sessions are ``TorchSession``, one a device.

    Devices take samples in turn and count side by side. What they counted is added up on the processor: counts, extremes and
    what was not finite are those of one device, whatever their number.
    """

    def __init__(self, inners: Sequence[Any], bins: int) -> None:
        tensors = len(inners[0].inputs) + len(inners[0].outputs)
        devices = [inner.session.device for inner in inners]
        lanes = [DeviceLane(*each) for each in zip(inners, (_histograms(tensors, bins, each) for each in devices), devices)]
        self._begin(inners[0], lanes, len(lanes) > 1)
        self.backend = "CUDA core" if isinstance(self.histograms, CoreHistogramSet) else "PyTorch"

    def finish(self) -> None:
        """Waits for the samples under way and adds up what the devices counted. Nothing can be added afterwards."""
        if len(self._lanes) > 1:
            for lane in range(len(self._lanes)):
                self._settle(lane, 0)
            for each in self._lanes:
                each.histograms = each.histograms.on_processor()
            self.histograms = self._lanes[0].histograms
        super().finish()


def _histograms(n: int, bins: int, device: Any) -> Any:
    from dopt import native_cuda

    core = native_cuda.load() if device.type == "cuda" else None
    return TorchHistogramSet(n, bins) if core is None else CoreHistogramSet(core, n, bins, device)
