"""A Hugging Face folder: its network without weights, and its weights one by one from memory-mapped files.

``open_model`` builds the network of transformers on the meta device, where it takes no memory. Weights are read by name
when they are needed, stacks of experts from files with one matrix an expert (``stacks.py``). Where a file's names are not those
of the network (an older layout, ``.bin`` files), transformers loads the whole model and ``Source.whole`` says why.
"""

import hashlib
import json
import math
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from dopt import safetensors
from dopt.errors import DoptError
from dopt.json_text import parse
from dopt.llm.network import build_network, move_buffers, parameter_names, parameters_of, require_transformers, unknown_architecture
from dopt.llm.stacks import joined, other_name, parts_of

INDEX = "model.safetensors.index.json"


class Stored(NamedTuple):
    """Where a weight lies: a safetensors file and its entry."""

    path: str
    entry: safetensors.Entry


class Source:
    """A model's network, settings and weights. Made by ``open_model``."""

    def __init__(self, folder: str, config: Any, network: Any, stored: Dict[str, Stored], device: Any) -> None:
        self.folder, self.config, self.network = folder, config, network
        #: Where weights that are read lie.
        self.device = device
        move_buffers(network, device)
        self.stored = stored
        self.whole: Optional[str] = None
        #: dopt.llm.rotate.Rotation, or None: what is done to weights while they are read.
        self.rotation: Optional[Any] = None
        self._loaded: Dict[str, Any] = {}
        self._names = parameter_names(network)
        head = network.get_output_embeddings()
        self.embedding_name = _name_of(network, network.get_input_embeddings())
        self.head_name = None if head is None else _name_of(network, head)
        self.tied = self._is_tied()

    def settle(self, trust_remote_code: bool) -> None:
        """Finds out whether the weights can be read one by one, and loads them all where they cannot."""
        missing = [name for name in self._names if not self._is_stored(name) and not self._is_tied_head(name)]
        if not missing:
            return
        self._refuse_other_model()
        self.whole = f"{len(missing)} of {len(self._names)} weights have other names in the files, the first is {missing[0]}"
        self._loaded = _load_whole(self.folder, self.config, trust_remote_code)

    def _refuse_other_model(self) -> None:
        """Raises DoptError LLM_FOLDER where the files are too small for the network, which would be made up of random numbers."""
        size = sum(os.path.getsize(path) for path in _weight_files(self.folder))
        wanted = self.weight_count()
        # Nobody stores a weight in less than four bits.
        if size * 2 < wanted:
            raise DoptError(
                "LLM_FOLDER",
                f"{self.folder}: config.json describes a model of {wanted} weights, but the files hold {size} bytes.",
                place=os.path.join(self.folder, "config.json"),
                suggestions=["Settings and weights are of different models, or weights are missing: copy the folder again."],
            )

    def place(self, name: str) -> Optional[Stored]:
        """Where a weight lies: under its own name, or under that without the prefix of the decoder."""
        prefix = getattr(self.network, "base_model_prefix", "") + "."
        for key in (name, name[len(prefix) :] if name.startswith(prefix) else None, prefix + name, other_name(name)):
            if key is not None and key in self.stored:
                return self.stored[key]
        return None

    def _is_stored(self, name: str) -> bool:
        return self.place(name) is not None or parts_of(name, self._names[name], self.stored) is not None

    def _from_files(self, name: str) -> Any:
        place = self.place(name)
        if place is not None:
            return _tensor(place)
        parts = parts_of(name, self._names[name], self.stored)
        assert parts is not None
        return joined([[_tensor(self.stored[each]) for each in row] for row in parts])

    def read(self, name: str) -> Any:
        """A weight as a float32 tensor. Raises DoptError LLM_WEIGHT_NOT_FINITE, LLM_WEIGHT_SHAPE."""
        return self.keep(name).float()

    @property
    def shares_head(self) -> bool:
        """Whether head and embedding are one matrix."""
        return self.tied and self.rotation is None

    def weight(self, linear: Any) -> Any:
        """The weight of a linear (dopt.llm.families.Linear), to be kept in memory."""
        from dopt.llm.linear import Weight

        return Weight(linear, self.keep(linear.parameter), lambda: self.keep(linear.parameter))

    def rotate(self, rotation: Any) -> None:
        """Weights are those of the rotated model from now on, in which head and embedding differ; None: as they were."""
        self.rotation = rotation

    def keep(self, name: str) -> Any:
        """A weight to be kept in memory: as it is stored (16-bit types take half of the memory), or rotated in float32."""
        stored = self.stored_as(name)
        return stored if self.rotation is None else self.rotation.apply(name, stored)

    def stored_as(self, name: str) -> Any:
        """A weight of the files as a tensor of the type it is stored in, checked."""
        import torch

        if self._is_tied_head(name):
            name = f"{self.embedding_name}.weight"
        tensor = (self._loaded[name] if self.whole else self._from_files(name)).to(self.device)
        if not all(_is_finite(part) for part in tensor.reshape(-1).split(1 << 20)):
            raise DoptError(
                "LLM_WEIGHT_NOT_FINITE",
                f"{name} holds NaN or infinities.",
                place=self.folder,
                suggestions=["The file is damaged, or the training diverged: take another checkpoint."],
            )
        expected = self._names[name]
        if tuple(tensor.shape) != expected:
            found = f"{list(tensor.shape)} in the file, {list(expected)} by config.json"
            raise DoptError("LLM_WEIGHT_SHAPE", f"{name} has another shape than config.json says.", found=found)
        return tensor

    def _is_tied(self) -> bool:
        if self.head_name is None or not getattr(self.config, "tie_word_embeddings", False):
            return False
        return self.place(f"{self.head_name}.weight") is None or self._same_bytes()

    def _same_bytes(self) -> bool:
        one, other = (self.place(f"{name}.weight") for name in (self.head_name, self.embedding_name))
        return one is not None and other is not None and one == other

    def _is_tied_head(self, name: str) -> bool:
        return self.tied and name == f"{self.head_name}.weight"

    def fill(self, module: Any, prefix: str) -> None:
        """Gives every parameter below ``module`` its weight in float32."""
        import torch

        for owner, leaf, name in parameters_of(module, prefix):
            owner._parameters[leaf] = torch.nn.Parameter(self.read(name), requires_grad=False)

    @property
    def names(self) -> Dict[str, Tuple[int, ...]]:
        """Shape of every parameter of the network, by name."""
        return self._names

    def weight_count(self) -> int:
        """How many weights there are; a head that is the embedding counts once."""
        head = f"{self.head_name}.weight" if self.tied else None
        return sum(math.prod(shape) for name, shape in self._names.items() if name != head)

    def file_bytes(self) -> int:
        """Size of the weights in the files."""
        if self.whole:
            return sum(tensor.numel() * tensor.element_size() for tensor in self._loaded.values())
        return sum(each.entry.end - each.entry.start for each in self.stored.values())

    def digest(self) -> str:
        """Over settings, names, shapes, places and times of the weights: changes whenever a file does."""
        digest = hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True, default=str).encode())
        for name, stored in sorted(self.stored.items()):
            digest.update(f"{name} {stored.entry}\n".encode())
        for path in sorted({stored.path for stored in self.stored.values()}) or _weight_files(self.folder):
            stat = os.stat(path)
            digest.update(f"{os.path.basename(path)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def open_model(folder: str, trust_remote_code: bool = False, device: Any = "cpu") -> Source:
    """The model in ``folder``, its weights to be read to ``device``.

    Raises DoptError LLM_FOLDER (no model there), LLM_ARCHITECTURE (not a causal language model that this transformers
    knows), LLM_TRANSFORMERS (the environment has no transformers), and those of load_checkpoint for pickled weights.
    """
    require_transformers()
    if not os.path.isfile(os.path.join(folder, "config.json")):
        raise DoptError(
            "LLM_FOLDER",
            f"{folder} is no Hugging Face folder: there is no config.json.",
            place=folder,
            suggestions=["Name the folder that holds config.json, the tokenizer and the .safetensors files."],
        )
    config, network = build_network(folder, trust_remote_code)
    source = Source(folder, config, network, _stored(folder), device)
    source.settle(trust_remote_code)
    return source


def _is_finite(part: Any) -> bool:
    """Whether all numbers of a part of a weight are finite: as good as always their sum says so, in a tenth of the time."""
    import torch

    return bool(torch.isfinite(part.sum(dtype=torch.float32))) or bool(torch.isfinite(part).all())


def _stored(folder: str) -> Dict[str, Stored]:
    files = sorted(path for path in _weight_files(folder) if path.endswith(".safetensors"))
    index = os.path.join(folder, INDEX)
    if os.path.isfile(index):
        try:
            with open(index, encoding="utf-8") as file:
                wanted = {os.path.join(folder, name) for name in parse(file.read())["weight_map"].values()}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DoptError("LLM_FOLDER", f"{index} cannot be read: {error!r}.", place=index) from error
        lacking = sorted(os.path.basename(path) for path in wanted if not os.path.isfile(path))
        if lacking:
            raise DoptError("LLM_FOLDER", f"{folder} lacks {', '.join(lacking)}, which its index names.", place=index)
        files = sorted(wanted)
    found: Dict[str, Stored] = {}
    for path in files:
        found.update((name, Stored(path, entry)) for name, entry in safetensors.read_header(path).items())
    if not found and not _weight_files(folder):
        raise DoptError(
            "LLM_FOLDER",
            f"{folder} holds no weights.",
            place=folder,
            suggestions=["Expected model.safetensors, shards with an index, or pytorch_model.bin."],
        )
    return found


def _weight_files(folder: str) -> List[str]:
    names = sorted(name for name in os.listdir(folder) if name.endswith((".safetensors", ".bin")))
    return [os.path.join(folder, name) for name in names]


def _tensor(stored: Stored) -> Any:
    """A stored weight as a tensor over the mapped file."""
    import numpy as np
    import torch

    array = safetensors.map_tensor(stored.path, stored.entry)
    if stored.entry.dtype == "BF16":
        return torch.from_numpy(np.array(array.view(np.int16))).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def _load_whole(folder: str, config: Any, trust_remote_code: bool) -> Dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM

    from dopt.doors.torch.checkpoint import load_state_dict

    # transformers unpickles such files, in older versions of PyTorch without a look: what holds code is refused here.
    for path in _weight_files(folder):
        if os.path.basename(path).startswith("pytorch_model"):
            load_state_dict(path)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            attn_implementation="eager",
            torch_dtype=torch.float32,
            trust_remote_code=trust_remote_code,
        )
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - transformers and safetensors raise many types on damaged files.
        raise unknown_architecture(folder, error) from error
    return {name: owner._parameters[leaf].detach() for owner, leaf, name in parameters_of(model, "")}


def _name_of(network: Any, module: Any) -> str:
    return next(name for name, each in network.named_modules() if each is module)
