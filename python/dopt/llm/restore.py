"""A quantized model as a network: weights are what its integers and scales stand for, all else is as it was written."""

from typing import Any, Optional, Tuple

from dopt.errors import DoptError
from dopt.llm.artifact import Reader
from dopt.llm.families import Linear, linears_of
from dopt.llm.hadamard import Hadamard
from dopt.llm.linear import Weight
from dopt.llm.load import Source, Stored
from dopt.llm.network import build_network, require_transformers
from dopt.llm.solve import dequantized


class Restored(Source):
    """The network of a folder that ``dopt.llm.artifact`` wrote. Made by ``open_quantized``."""

    def __init__(self, reader: Reader, config: Any, network: Any, device: Any) -> None:
        self.reader = reader
        super().__init__(reader.folder, config, network, {}, device)
        self.tied = bool(getattr(config, "tie_word_embeddings", False)) and not self._has(f"{self.head_name}.weight")
        self._experts = {
            (each.parameter, each.expert): each for each in linears_of(network, "") if each.kind == "expert"
        }

    def place(self, name: str) -> Optional[Stored]:
        return None

    def weight(self, linear: Linear) -> Weight:
        if not self.reader.has(linear.name):
            return Weight(linear, self.keep(linear.parameter))
        layer = self.reader.layer(linear.name)
        weight = Weight(linear, None)
        weight.set_quantized(*self._here(layer))
        return weight

    def keep(self, name: str) -> Any:
        if self._is_tied_head(name):
            name = f"{self.embedding_name}.weight"
        module = name[: -len(".weight")]
        if name.endswith(".weight") and self.reader.has(module):
            layer = self.reader.layer(module)
            matrix = dequantized(*self._here(layer))
            return matrix.t().contiguous() if self._is_conv1d(module) else matrix
        if (name, 0) in self._experts and self.reader.has(f"{name}.0"):
            return self._stack(name)
        if not self.reader.has(name):
            raise DoptError("LLM_QUANTIZED_LACKS", f"{self.folder} lacks the weight {name}.", place=self.folder)
        return _tensor(self.reader.float_tensor(name)).to(self.device)

    def turn(self) -> Optional[Hadamard]:
        """What rotation turned the residual stream by; None for a model that is not rotated."""
        rotation = self.reader.meta.get("rotation")
        if rotation is None:
            return None
        return Hadamard(self.names[f"{self.embedding_name}.weight"][1], rotation["seed"], self.device)

    def _stack(self, name: str) -> Any:
        """All experts of a parameter, as it is stored: [experts, …]."""
        import torch

        shape = self.names[name]
        parts = []
        for expert in range(shape[0]):
            layer = self.reader.layer(f"{name}.{expert}")
            matrix = dequantized(*self._here(layer))
            parts.append(matrix.t() if self._experts[(name, expert)].turned else matrix)
        return torch.stack(parts)

    def _here(self, layer: Any) -> Tuple[Any, Any]:
        """Integers and scales of a layer of the artifact, where the model is."""
        return _tensor(layer.integers).to(self.device), _tensor(layer.scales).to(self.device)

    def _has(self, name: str) -> bool:
        return self.reader.has(name) or self.reader.has(name[: -len(".weight")])

    def _is_conv1d(self, module: str) -> bool:
        owner: Any = self.network
        for part in module.split("."):
            owner = getattr(owner, part)
        return type(owner).__name__ == "Conv1D"


def open_quantized(folder: str, trust_remote_code: bool = False, device: Any = "cpu") -> Restored:
    """The quantized model in ``folder``, to be read to ``device``. Raises DoptError ARTIFACT_MISSING, ARTIFACT_BROKEN, LLM_ARCHITECTURE."""
    require_transformers()
    reader = Reader(folder)
    return Restored(reader, *build_network(reader.model_folder, trust_remote_code), device)


def _tensor(array: Any) -> Any:
    """A copy: arrays over a mapped file cannot be written to."""
    import numpy as np
    import torch

    return torch.from_numpy(np.array(array))
