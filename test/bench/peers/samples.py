"""The samples that every tool calibrates with: files that dopt's ``materialize`` wrote."""
import json

import numpy as np


class Samples:
    """A list of samples, each a dict from input name to array with a batch dimension of its own; read when asked for."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.tensors = [sample["tensors"] for sample in json.load(file)["samples"]]

    def __len__(self):
        return len(self.tensors)

    def __iter__(self):
        for tensors in self.tensors:
            yield {
                name: np.fromfile(tensor["path"], dtype=tensor["dtype"]).reshape(tensor["shape"])
                for name, tensor in tensors.items()
            }


class Reader:
    """Samples as onnxruntime's calibration asks for them; other tools took over its interface."""

    def __init__(self, samples):
        self.samples = samples
        self.rewind()

    def rewind(self):
        self.remaining = iter(self.samples)

    def get_next(self):
        return next(self.remaining, None)

    def __len__(self):
        return len(self.samples)
