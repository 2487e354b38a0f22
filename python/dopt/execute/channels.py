"""Extremes, mean squares and means per channel, for tensors whose channels may take scales of their own."""

import os
from typing import Any, Dict

import numpy as np


def observe_channels(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``observeChannels`` of src/bridge/protocol.ts. Memory does not depend on the number of samples."""
    from dopt import safetensors
    from dopt.data.source import open_source
    from dopt.execute.session import executor_of, open_inner

    axes = {entry["tensor"]: entry["axis"] for entry in params["tensors"]}
    inner = open_inner(params["model"], list(axes), params["threads"], executor_of(params))
    source = open_source(params["source"])
    seen: Dict[str, ChannelStatistics] = {name: ChannelStatistics(axis) for name, axis in axes.items()}
    count = 0
    for sample in source:
        values = {name: sample.feeds[name] for name in inner.inputs}
        if inner.session is not None:
            names = [name for name, _ in inner.outputs]
            values.update(zip(names, inner.session.run(names, sample.feeds)))
        for name, value in values.items():
            seen[name].add(value)
        count += 1
        events.progress(count, len(source), sample.name)
    path = os.path.join(params["out"], "channels.safetensors")
    safetensors.write(path, {name: statistics.table() for name, statistics in seen.items() if statistics.count})
    return {"channels": path, "samples": count}


class ChannelStatistics:
    """Running minimum, maximum, sum of squares and sum for each index along one axis."""

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.count = 0
        self.low = self.high = self.squares = self.sums = np.zeros(0)

    def add(self, value: Any) -> None:
        """Adds one array of any dtype; all arrays must agree in the size along the axis."""
        rows = np.moveaxis(value, self.axis, 0)
        rows = rows.reshape(rows.shape[0], -1)
        low, high = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
        squares = np.einsum("cn,cn->c", rows, rows, dtype=np.float64)
        sums = rows.sum(axis=1, dtype=np.float64)
        if self.count:
            low, high = np.minimum(self.low, low), np.maximum(self.high, high)
            squares, sums = self.squares + squares, self.sums + sums
        self.low, self.high, self.squares, self.sums = low, high, squares, sums
        self.count += rows.shape[1]

    def table(self) -> Any:
        """float64 [4, channels]: minimum, maximum, mean square, mean."""
        count = max(1, self.count)
        return np.stack([self.low, self.high, self.squares / count, self.sums / count])
