"""A quantized network with gradients: integers fixed, scales and norms free."""

import hashlib
from typing import Any, Dict, List, Optional

from dopt.llm.artifact import Reader, Writer
from dopt.llm.families import linears_of
from dopt.llm.network import parameters_of
from dopt.llm.restore import Restored
from dopt.llm.rows import half_scale


class Student:
    """The quantized network with gradients to scales and norms.

    ``scales`` are factors on the scales that were found, by name of linear and 1 at first; ``norms`` parameters by name.
    """

    def __init__(self, restored: Restored, trainable: List[str]) -> None:
        import torch

        self.restored, self.network = restored, restored.network
        restored.fill(self.network, "")
        self.scales: Dict[str, Any] = {}
        self.norms: Dict[str, Any] = {}
        quantized = {layer["name"] for layer in restored.reader.index["linears"]}
        frozen = {restored.embedding_name, restored.head_name}
        if "scales" in trainable:
            for linear in linears_of(self.network, ""):
                if linear.kind != "expert" and linear.name in quantized and linear.name not in frozen:
                    self.scales[linear.name] = self._replace(linear.name, linear.kind == "conv1d")
        if "norms" in trainable:
            for owner, leaf, name in parameters_of(self.network, ""):
                if "norm" in type(owner).__name__.lower():
                    owner._parameters[leaf] = torch.nn.Parameter(owner._parameters[leaf].detach().clone())
                    self.norms[name] = owner._parameters[leaf]

    def parameters(self) -> Dict[str, Any]:
        """All that is trained, by name."""
        factors = {f"scale/{name}": module.factor for name, module in self.scales.items()}
        return {**factors, **{f"norm/{name}": parameter for name, parameter in self.norms.items()}}

    def snapshot(self) -> Dict[str, Any]:
        """Copies of it."""
        return {name: parameter.detach().clone() for name, parameter in self.parameters().items()}

    def restore(self, values: Dict[str, Any]) -> None:
        """Puts copies back."""
        import torch

        with torch.no_grad():
            for name, parameter in self.parameters().items():
                parameter.copy_(values[name])

    def _replace(self, name: str, transposed: bool) -> Any:
        """A module in the place of a linear whose weight is integers times scales."""
        owner: Any = self.network
        *parents, leaf = name.split(".")
        for each in parents:
            owner = getattr(owner, each)
        bias = getattr(owner, leaf).bias
        layer = self.restored.reader.layer(name)
        module = make_trainable(layer.integers, layer.scales, bias).to(self.restored.device)
        setattr(owner, leaf, module)
        return module


def make_trainable(integers: Any, scales: Any, bias: Optional[Any]) -> Any:
    """A linear over fixed integers [outputs, inputs] with a trainable factor for each of its scales [outputs, groups]."""
    import numpy as np
    import torch

    class ScaledLinear(torch.nn.Module):
        """y = (integers * scales * factor) x + bias."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("integers", torch.from_numpy(np.array(integers)))
            self.register_buffer("scales", torch.from_numpy(np.array(scales)))
            self.factor = torch.nn.Parameter(torch.ones(scales.shape))
            self.bias = bias

        def forward(self, x: Any) -> Any:
            outputs, inputs = self.integers.shape
            steps = (self.scales * self.factor)[:, :, None]
            groups = self.integers.view(outputs, steps.shape[1], -1).float()
            return torch.nn.functional.linear(x, (groups * steps).view(outputs, inputs), self.bias)

    return ScaledLinear()


def write_trained(out: str, student: Student) -> str:
    """The artifact with other scales and norms. Ranges of activations are left out: they were of the old model."""
    reader: Reader = student.restored.reader
    fingerprint = hashlib.sha256(f"{reader.fingerprint} distilled {student_digest(student)}".encode()).hexdigest()
    writer = Writer(out, fingerprint)
    for shard in reader.by_shard():
        entries = [each for kind in ("linears", "embeddings", "floats") for each in shard[kind]]
        block = entries[0]["block"] if entries else None
        if block is not None:
            writer.begin_block(block)
        _write_shard(writer, reader, shard, student)
        if block is not None:
            writer.end_block(block)
    return writer.close({**reader.meta, "model": reader.model_folder})


def _write_shard(writer: Writer, reader: Reader, shard: Dict[str, List[Dict[str, Any]]], student: Student) -> None:
    for entry in shard["linears"]:
        layer = reader.layer(entry["name"])
        module = student.scales.get(entry["name"])
        scales = layer.scales if module is None else half_scale(module.scales * module.factor.detach()).cpu().numpy()
        form = {"bits": entry["bits"], "group_size": entry["groupSize"], "strategy": entry["strategy"]}
        writer.linear(entry["name"], layer.integers, scales, **form)
    for entry in shard["embeddings"]:
        layer = reader.layer(entry["name"])
        writer.embedding(entry["name"], layer.integers, layer.scales, strategy=entry["strategy"])
    for entry in shard["floats"]:
        name = entry["name"]
        if name in student.norms:
            writer.floats(name, student.norms[name].detach().cpu().numpy())
        else:
            writer.floats(name, reader.float_bits(name), bfloat16=entry["dtype"] == "BF16")


def student_digest(student: Student) -> str:
    """Over all that was trained."""
    digest = hashlib.sha256()
    for name, value in sorted(student.snapshot().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()
