"""Feeds samples to a model and its inner tensors to histograms, two samples at a time.

Samples alternate between two lanes, each with buffers and histograms of its own; the lanes' histograms are merged at the
end. Two samples side by side use two cores better than one sample on two cores: nothing waits for the slower half of an
operator. With one thread the same lanes take turns, so that results do not depend on the number of threads: all of a
histogram but its two floating sums is independent of grouping, and the sums are grouped the same way always.
"""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Deque, Dict, List, Sequence, Tuple

LANES = 2
_NAMED_TENSORS = 20
_NAMED_SAMPLES = 3


def session_threads(threads: int) -> int:
    """Threads for onnxruntime and for the observers when ``threads`` may run in all: the lanes are threads too."""
    return max(1, threads - LANES + 1)


class Lane:
    """Runs samples one after the other: inference, then observation of all tensors in one native call."""

    def __init__(self, runner: Any, inputs: Sequence[str], histograms: Any) -> None:
        self.histograms = histograms
        self.inference_seconds = 0.0
        self.observer_seconds = 0.0
        #: Tensor index -> (number of the sample, its name) for samples in which it held NaN or infinities.
        self.bad: Dict[int, List[Tuple[int, str]]] = {}
        self.bad_counts: Dict[int, int] = {}
        self._runner, self._inputs = runner, inputs
        self._nonfinite = histograms.nonfinite()

    def add(self, number: int, name: str, feeds: Dict[str, Any]) -> None:
        """Runs and observes one sample."""
        from numpy import float32

        begin = time.perf_counter()
        views = [] if self._runner is None else self._runner.run(feeds, name)
        ran = time.perf_counter()
        fed = [feeds[key].astype(float32, copy=False) for key in self._inputs]
        chunks = [(index, array.ctypes.data, array.size) for index, array in enumerate(fed)]
        chunks.extend((index, view.address, view.count) for index, view in enumerate(views, len(fed)))
        self.histograms.update(chunks)
        nonfinite = self.histograms.nonfinite()
        if (nonfinite != self._nonfinite).any():
            note_nonfinite(self, number, name, (nonfinite != self._nonfinite).nonzero()[0].tolist())
            self._nonfinite = nonfinite
        self.observer_seconds += time.perf_counter() - ran
        self.inference_seconds += ran - begin


def note_nonfinite(lane: Any, number: int, name: str, indices: Sequence[int]) -> None:
    """Notes a sample in which tensors of a lane held NaN or infinities."""
    for index in indices:
        lane.bad_counts[index] = lane.bad_counts.get(index, 0) + 1
        named = lane.bad.setdefault(index, [])
        if len(named) < _NAMED_SAMPLES:
            named.append((number, name))


class Observer:
    """Observes the tensors of an ``InnerSession`` over samples; ``threads`` in all. Of several, each has a lane of its own.

    Call ``add`` for every sample, then ``finish``; or ``close`` to give up. ``histograms`` and the seconds are valid
    after ``finish``; the seconds are wall-clock shares: the lanes' sum divided by the lanes that run side by side.
    """

    def __init__(self, core: Any, inners: Sequence[Any], bins: int, threads: int) -> None:
        from dopt.execute.bound import BoundRunner

        def runner(inner: Any) -> Any:
            return BoundRunner(inner.session, inner.outputs) if inner.outputs else None

        parallel = threads >= LANES or len(inners) > 1
        runners = [runner(inner) for inner in inners]
        if len(inners) == 1:
            runners += [runner(inners[0]) if parallel else runners[0] for _ in range(LANES - 1)]
        tensors = len(inners[0].inputs) + len(inners[0].outputs)
        lanes = [Lane(each, inners[0].inputs, core.histograms(tensors, bins)) for each in runners]
        self._begin(inners[0], lanes, parallel)

    def _begin(self, inner: Any, lanes: Sequence[Any], parallel: bool) -> None:
        self.tensors: List[str] = inner.inputs + [name for name, _ in inner.outputs]
        self.samples = 0
        self._ignored, self._lanes, self._parallel = inner.ignored, list(lanes), parallel
        self._pools = [ThreadPoolExecutor(1, "dopt-lane") for _ in self._lanes] if parallel else []
        self._pending: List[Deque["Future[None]"]] = [deque() for _ in self._lanes]
        self.histograms = self._lanes[0].histograms

    def add(self, name: str, feeds: Dict[str, Any]) -> None:
        """Takes one sample (contiguous arrays by input name, not to be changed any more).

        Returns once fewer than two samples wait for the lane; raises what an earlier sample of that lane raised.
        """
        lane, number = self.samples % len(self._lanes), self.samples
        self.samples += 1
        if not self._parallel:
            self._lanes[lane].add(number, name, feeds)
            return
        # One sample runs and one waits, so that a lane never idles until the other is done.
        self._settle(lane, 1)
        self._pending[lane].append(self._pools[lane].submit(self._lanes[lane].add, number, name, feeds))

    def finish(self) -> None:
        """Waits for the samples under way and merges the lanes into ``histograms``. Nothing can be added afterwards."""
        for lane in range(len(self._lanes)):
            self._settle(lane, 0)
        self.close()
        for lane in self._lanes[1:]:
            self.histograms.merge(lane.histograms)

    def close(self) -> None:
        """Ends the threads after the samples they are working on; those that wait are dropped."""
        for future in (future for pending in self._pending for future in pending):
            future.cancel()
        for pool in self._pools:
            pool.shutdown(wait=True)

    @property
    def inference_seconds(self) -> float:
        """Wall-clock seconds inside onnxruntime."""
        return sum(lane.inference_seconds for lane in self._lanes) / self._side_by_side()

    @property
    def observer_seconds(self) -> float:
        """Wall-clock seconds inside the observers."""
        return sum(lane.observer_seconds for lane in self._lanes) / self._side_by_side()

    def warnings(self) -> List[str]:
        """What was odd about the tensors, one sentence each."""
        found = []
        if self._ignored:
            named = ", ".join(f"{name} ({kind})" for name, kind in self._ignored[:_NAMED_TENSORS])
            more = _more(len(self._ignored) - _NAMED_TENSORS)
            found.append(f"{len(self._ignored)} tensors are not floating-point and were not observed: {named}{more}")
        bad = sorted({index for lane in self._lanes for index in lane.bad})
        for index in bad[:_NAMED_TENSORS]:
            count = sum(lane.bad_counts.get(index, 0) for lane in self._lanes)
            samples = sorted(entry for lane in self._lanes for entry in lane.bad.get(index, []))[:_NAMED_SAMPLES]
            found.append(
                f"tensor {self.tensors[index]!r} held NaN or infinite values in {count} of {self.samples} samples: "
                f"{', '.join(name for _, name in samples)}{_more(count - len(samples))}"
            )
        if len(bad) > _NAMED_TENSORS:
            found.append(f"{len(bad) - _NAMED_TENSORS} more tensors held NaN or infinite values")
        return found

    def _settle(self, lane: int, left: int) -> None:
        while len(self._pending[lane]) > left:
            self._pending[lane].popleft().result()

    def _side_by_side(self) -> int:
        return max(1, min(len(self._lanes), self.samples)) if self._parallel else 1


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""
