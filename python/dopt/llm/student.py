"""A quantized network with gradients: integers fixed, scales and norms free."""

import hashlib
import math
from typing import Any, Dict, List, Set

from dopt.llm.artifact import Reader, Writer
from dopt.llm.families import linears_of
from dopt.llm.network import parameters_of
from dopt.llm.restore import Restored
from dopt.llm.rows import half_scale
from dopt.llm.scaled import scaled_linear, stays_on


class Student:
    """The quantized network with gradients to scales and norms.

    ``scales`` are factors on the scales that were found, by name of linear and 1 at first; ``norms`` parameters by name.
    """

    def __init__(self, restored: Restored, trainable: List[str]) -> None:
        import torch

        self.restored, self.network = restored, restored.network
        self.scales: Dict[str, Any] = {}
        self.norms: Dict[str, Any] = {}
        frozen = {restored.embedding_name, restored.head_name}
        rows = {layer["name"]: layer for layer in restored.reader.index["linears"]}
        linears = [
            linear
            for linear in linears_of(self.network, "")
            if linear.kind != "expert" and linear.name in rows and linear.name not in frozen
        ]
        stays = stays_on(restored.device, sum(math.prod(rows[linear.name]["shape"]) for linear in linears))
        self._fill({f"{linear.name}.weight" for linear in linears})
        for linear in linears:
            module = self._replace(linear.name, stays)
            if "scales" in trainable:
                self.scales[linear.name] = module
            else:
                module.factor.requires_grad_(False)
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

    def _fill(self, left_out: Set[str]) -> None:
        """All weights but those of linears that read their own."""
        import torch

        for owner, leaf, name in parameters_of(self.network, ""):
            if name not in left_out:
                owner._parameters[leaf] = torch.nn.Parameter(self.restored.read(name), requires_grad=False)

    def _replace(self, name: str, stays: bool) -> Any:
        """A module in the place of a linear whose weight is integers times scales."""
        owner: Any = self.network
        *parents, leaf = name.split(".")
        for each in parents:
            owner = getattr(owner, each)
        reader = self.restored.reader
        bias = getattr(owner, leaf).bias
        module = scaled_linear(
            lambda: reader.layer(name).integers, reader.layer(name).scales, bias, self.restored.device, stays
        )
        setattr(owner, leaf, module)
        return module


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
