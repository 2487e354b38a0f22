"""How the values of tensors are distributed, channel by channel, and how their extremes grow from sample to sample."""

import os
from typing import Any, Dict, List

#: Elements worked on at a time: temporaries are float64.
_CHUNK = 1 << 19


def profile(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``profile`` of src/bridge/protocol.ts. Memory does not depend on the number of samples."""
    from dopt import safetensors
    from dopt.data.source import open_source
    from dopt.execute.session import executor_of, open_inner

    axes = {entry["tensor"]: entry["axis"] for entry in params["tensors"]}
    inner = open_inner(params["model"], list(axes), params["threads"], executor_of(params))
    source = open_source(params["source"])
    profiles = {name: Profile(axis) for name, axis in axes.items()}
    names = [name for name, _ in inner.outputs]
    count = 0
    for sample in source.read_ahead(params["threads"]):
        count += 1
        for name in inner.inputs:
            profiles[name].add(sample.feeds[name])
        if inner.session is not None:
            for name, value in zip(names, inner.session.run(names, sample.feeds)):
                profiles[name].add(value)
        events.progress(count, len(source), sample.name)
    arrays: Dict[str, Any] = {}
    for name, found in profiles.items():
        if found.samples:
            arrays[f"{name}/moments"], arrays[f"{name}/growth"] = found.moments, found.growth()
    path = os.path.join(params["out"], "profile.safetensors")
    safetensors.write(path, arrays)
    return {"profile": path, "samples": count}


class Profile:
    """Power sums of one tensor for each index along ``axis``, and its extremes after 1, 2, 4, … samples and the last.

    ``moments`` is float64 [7, channels]: number of finite values, least, largest, sums of x, x², x³ and x⁴.
    """

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.samples = 0
        self.moments: Any = None
        self._growth: List[List[float]] = []

    def add(self, value: Any) -> None:
        """Adds one sample; all must agree in the size along the axis."""
        import numpy as np

        if self.axis < 0:
            rows = value.reshape(-1, value.shape[-1]).T if value.ndim else value.reshape(1, 1)
        else:
            rows = np.moveaxis(value, self.axis, 0).reshape(value.shape[self.axis], -1)
        step = max(1, _CHUNK // max(1, rows.shape[1]))
        parts = [_sums(rows[first : first + step]) for first in range(0, rows.shape[0], step)]
        found = np.concatenate(parts, axis=1)
        if self.moments is None:
            self.moments = found
        else:
            self.moments[1] = np.minimum(self.moments[1], found[1])
            self.moments[2] = np.maximum(self.moments[2], found[2])
            self.moments[[0, 3, 4, 5, 6]] += found[[0, 3, 4, 5, 6]]
        self.samples += 1
        self._last = [float(self.samples), float(self.moments[1].min()), float(self.moments[2].max())]
        if self.samples & (self.samples - 1) == 0:
            self._growth.append(self._last)

    def growth(self) -> Any:
        """float64 [points, 3]: samples so far, least and largest value."""
        import numpy as np

        last = [] if self._growth[-1] == self._last else [self._last]
        return np.array(self._growth + last)


def _sums(rows: Any) -> Any:
    """The moments of a few channels, [7, channels]; values that are not finite are left out."""
    import numpy as np

    x = rows.astype(np.float64)
    finite = np.isfinite(x)
    x[~finite] = 0
    squares = x * x
    return np.stack(
        [
            finite.sum(axis=1),
            np.where(finite, x, np.inf).min(axis=1, initial=np.inf),
            np.where(finite, x, -np.inf).max(axis=1, initial=-np.inf),
            x.sum(axis=1),
            squares.sum(axis=1),
            np.einsum("cn,cn->c", squares, x),
            np.einsum("cn,cn->c", squares, squares),
        ]
    )
