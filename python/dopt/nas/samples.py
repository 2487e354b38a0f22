"""Samples of the user's dataset as files that ``dopt quantize`` reads."""

import os
from typing import Any, Dict, Iterable, List, Optional, Tuple

import numpy as np

from dopt.nas.scoring import write_whole


def write_samples(batches: Iterable[Tuple[Any, Any]], out: str, name: str, tensor: str, most: int) -> Dict[str, Optional[str]]:
    """Writes the first ``most`` samples as OUT/NAME.npz with one array ``tensor``, and their labels as
    OUT/NAME-labels.npy where each is one whole number.

    ``batches``: pairs of inputs and labels as NumPy arrays. The result has the paths ``data`` and ``labels`` (or None).
    """
    inputs: List[Any] = []
    labels: List[Any] = []
    count = 0
    for batch, classes in batches:
        inputs.append(np.asarray(batch, np.float32))
        labels.append(np.asarray(classes) if not isinstance(classes, (list, tuple, dict)) else np.zeros(0))
        count += len(inputs[-1])
        if count >= most:
            break
    data, found = os.path.join(out, f"{name}.npz"), np.concatenate([each.reshape(len(each), -1) for each in labels])
    write_whole(data, lambda file: np.savez(file, **{tensor: np.concatenate(inputs)[:most]}))
    if not (np.issubdtype(found.dtype, np.integer) and found.shape[1:] == (1,)):
        return {"data": data, "labels": None}
    path = os.path.join(out, f"{name}-labels.npy")
    write_whole(path, lambda file: np.save(file, found[:most, 0].astype(np.int64)))
    return {"data": data, "labels": path}
