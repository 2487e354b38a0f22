"""What ``evaluate`` gets: the outputs and labels of the samples, read from files one by one, when they are asked for."""

import os
from collections.abc import Sequence
from typing import Any, Callable, Dict, List, Optional


class Lazy(Sequence):
    """A sequence whose items are made when they are asked for, so that memory holds those that the user keeps.

    ``numpy.asarray`` of it joins the items along their first axis (their batch), where they are arrays.
    """

    def __init__(self, read: Callable[[int], Any], indices: Sequence, names: Optional[List[str]] = None) -> None:
        self._read = read
        self._indices = indices
        #: Names of the samples, in order: paths below the data folder, or ``file#row``.
        self.names = names

    def take(self, indices: Sequence) -> "Lazy":
        """The items at these places, in this order; a place may come several times."""
        names = None if self.names is None else [self.names[i] for i in indices]
        return Lazy(self._read, [self._indices[i] for i in indices], names)

    def __len__(self) -> int:
        return len(self._indices)

    def __repr__(self) -> str:
        return f"<{len(self)} items, read when asked for>"

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return self.take(range(*place.indices(len(self))))
        return self._read(self._indices[place])

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        import numpy as np

        items = list(self)
        if not items or not all(isinstance(item, np.ndarray) for item in items):
            raise TypeError("the items of this sequence are no arrays (a model with several outputs gives dictionaries)")
        joined = np.concatenate(items) if items[0].ndim > 0 else np.stack(items)
        return joined if dtype is None else joined.astype(dtype)


#: Outputs of all samples together that are kept in memory, in bytes: draws of samples ask for them again and again.
_KEPT_BYTES = 64 * 2**20


def outputs_of(samples: List[Dict[str, Any]], alive: Callable[[], None]) -> Lazy:
    """The outputs of each sample: an array where the model has one output, else a dictionary of arrays by name."""
    import numpy as np

    files = [file for sample in samples for file in sample["tensors"].values()]
    keep = sum(os.path.getsize(file["path"]) for file in files) <= _KEPT_BYTES
    kept: Dict[str, Any] = {}

    def array(file: Dict[str, Any]) -> Any:
        path = file["path"]
        if path in kept:
            return kept[path].copy()
        read = np.fromfile(path, np.dtype(file["dtype"]).newbyteorder("<")).reshape(file["shape"])
        if keep:
            kept[path] = read.copy()
        return read

    def read(index: int) -> Any:
        alive()
        arrays = {name: array(file) for name, file in samples[index]["tensors"].items()}
        return next(iter(arrays.values())) if len(arrays) == 1 else arrays

    return Lazy(read, range(len(samples)), [sample["name"] for sample in samples])


def labels_of(labels: Optional[Dict[str, Any]]) -> Any:
    """The labels of each sample: values or paths in a list, rows of a ``.npy`` file; None where there are none."""
    import numpy as np

    if labels is None:
        return None
    if "values" in labels:
        return list(labels["values"])
    if "files" in labels:
        return list(labels["files"])
    rows = np.load(labels["array"], mmap_mode="r", allow_pickle=False)
    return Lazy(lambda row: np.array(rows[row]), labels["rows"])


def resampled(items: Any, indices: List[int]) -> Any:
    """The items at these places, as the same kind of sequence; None stays None."""
    if items is None:
        return None
    return items.take(indices) if isinstance(items, Lazy) else [items[i] for i in indices]
