"""What a run needs to go on behind the last finished block: hidden states of both models, and what was found so far.

Two files in the result's folder, each replaced as a whole after every block and removed at the end. The order is: the
block's shard, then the hidden states under a name with their block, then journal.json, which names them; so a run that was
ended anywhere finds the newest consistent set.
"""

import json
import os
from typing import Any, Dict, List, Optional

from dopt import safetensors
from dopt.capture.save import discard, write_bytes
from dopt.llm.block import States
from dopt.safetensors import write_error

JOURNAL = "journal.json"


class Journal:
    """Reads and writes the journal of a folder; ``fingerprint`` is that of everything that decides the result."""

    def __init__(self, folder: str, fingerprint: str) -> None:
        self._path = os.path.join(folder, JOURNAL)
        self._folder, self._fingerprint = folder, fingerprint

    def read(self) -> Optional[Dict[str, Any]]:
        """``{"done", "results", …}`` of an earlier run of the same kind whose hidden states are there, or None."""
        try:
            with open(self._path, encoding="utf-8") as file:
                content = json.load(file)
        except (OSError, ValueError):
            return None
        same = isinstance(content, dict) and content.get("fingerprint") == self._fingerprint
        return content if same and os.path.isfile(self._states(content["done"])) else None

    def states(self, done: int, device: Any = "cpu") -> States:
        """The hidden states behind ``done`` blocks, on a device."""
        import numpy as np
        import torch

        found = safetensors.read(self._states(done))
        batches = sum(name.startswith("quantized.") for name in found)

        def taken(kind: str) -> List[Any]:
            names = [f"{kind}.{i:06d}" for i in range(batches)]
            return [torch.from_numpy(np.array(found[name])).to(device) if name in found else None for name in names]

        return States(taken("float"), taken("quantized"))

    def write(self, done: int, states: States, content: Dict[str, Any]) -> None:
        """Records that ``done`` blocks are finished. Raises DoptError OUTPUT_WRITE."""
        path = self._states(done)
        tensors = {
            f"{kind}.{i:06d}": each.cpu().numpy()
            for kind, batches in (("float", states.float), ("quantized", states.quantized))
            for i, each in enumerate(batches)
            if each is not None
        }
        try:
            safetensors.write(f"{path}.part", tensors)
            os.replace(f"{path}.part", path)
        except OSError as error:
            raise write_error(path, error) from error
        finally:
            discard(f"{path}.part")
        text = json.dumps({"fingerprint": self._fingerprint, "done": done, **content}, allow_nan=False)
        write_bytes(self._path, text.encode() + b"\n")
        self._discard_states(but=path)

    def remove(self) -> None:
        """Forgets the run: it is finished."""
        discard(self._path)
        self._discard_states(but=None)

    def _states(self, done: int) -> str:
        return os.path.join(self._folder, f"states-{done:04d}.safetensors")

    def _discard_states(self, but: Optional[str]) -> None:
        names: List[str] = [name for name in os.listdir(self._folder) if name.startswith("states-")]
        for name in names:
            path = os.path.join(self._folder, name)
            if path != but:
                discard(path)
