"""Rotations of a decoder that change nothing in float and make its weights easier to round, folded into the weights.

R1 turns the residual stream: what reads it is multiplied by Q (the norm's weight folded in before), what writes it by its
transpose. R2 turns the values of every head, and back where the output projection reads them. A rotation passes through an
RMSNorm without a weight. Ashkboos et al., "QuaRot", arXiv:2404.00456, section 4, stages 1a to 1c; R1 and R2 as Liu et al.,
"SpinQuant", arXiv:2405.16406, section 3.1, calls them. Both are Hadamard matrices with random signs, so that outliers spread
over all channels.
"""

from typing import Any, Callable, Dict, List, Optional

from dopt.llm.families import Blocks, linears_of, norm_kind
from dopt.llm.hadamard import Hadamard
from dopt.llm.load import Source

#: Linears by what they do in a block, under the names that families of the Llama kind share.
_ATTENTION = ("q_proj", "k_proj", "v_proj", "qkv_proj")
_FEED_FORWARD = ("gate_proj", "up_proj", "gate_up_proj")
_WRITERS = ("o_proj", "down_proj")
_NORMS = ("input_layernorm", "post_attention_layernorm")
#: Weights of embedding and head that are turned at a time.
PART_WEIGHTS = 1 << 20


def why_not(source: Source, blocks: Blocks) -> Optional[str]:
    """Why a model cannot be rotated; None when it can."""
    if norm_kind(source.network, blocks) != "rms":
        return "its norms are no RMSNorm: a rotation does not pass through them"
    if _last_norm(source, blocks) is None:
        return "the norm before the head was not found"
    for index, block in enumerate(blocks.modules):
        norms = [name for name, each in block.named_children() if "Norm" in type(each).__name__]
        if sorted(norms) != sorted(_NORMS):
            return f"block {index} has the norms {', '.join(norms)}, expected {' and '.join(_NORMS)} before attention and feed-forward"
        known = _ATTENTION + _FEED_FORWARD + _WRITERS
        other = [each.name for each in linears_of(block, "") if each.name.rpartition(".")[2] not in known or each.is_expert]
        if other:
            return f"what {other[0]} of block {index} reads and writes is not known"
    return None


class Rotation:
    """What happens to each weight while it is read; ``q`` turns the residual stream."""

    def __init__(self, source: Source, blocks: Blocks, seed: int) -> None:
        self.q = Hadamard(source.names[f"{source.embedding_name}.weight"][1], seed, source.device)
        self._changes: Dict[str, Callable[[Any], Any]] = {f"{source.embedding_name}.weight": self.q.rows}
        #: Weights whose rows change each for itself: large ones, outside of the blocks.
        self._by_row = {f"{name}.weight" for name in (source.embedding_name, source.head_name)}
        last = str(_last_norm(source, blocks))
        self._changes[f"{source.head_name}.weight"] = self._reader(source, last)
        self._changes[f"{last}.weight"] = _neutral(source, last)
        for index, block in enumerate(blocks.modules):
            self._add_block(source, block, blocks.prefix(index), seed)

    def apply(self, name: str, weight: Any) -> Any:
        """A weight as it is in the rotated model, float32."""
        import torch

        change = self._changes.get(name)
        if change is None:
            return weight
        if name not in self._by_row:
            return change(weight.float()).contiguous()
        changed = torch.empty(weight.shape, device=weight.device)
        count = max(1, PART_WEIGHTS // weight.shape[1])
        for old, new in zip(weight.split(count), changed.split(count)):
            new.copy_(change(old.float()))
        return changed

    def _add_block(self, source: Source, block: Any, prefix: str, seed: int) -> None:
        for norm in _NORMS:
            self._changes[f"{prefix}.{norm}.weight"] = _neutral(source, f"{prefix}.{norm}")
        heads = _head_rotation(block, seed, source.device)
        for linear in linears_of(block, prefix):
            leaf = linear.name.rpartition(".")[2]
            if leaf in _WRITERS:
                turned = heads if leaf == "o_proj" else None
                self._changes[linear.parameter] = lambda w, turned=turned: self.q.columns(_inputs(w, turned))
                self._changes[f"{linear.name}.bias"] = self.q.rows
            else:
                norm = _NORMS[0] if leaf in _ATTENTION else _NORMS[1]
                reader = self._reader(source, f"{prefix}.{norm}")
                turned = heads if leaf == "v_proj" else None
                self._changes[linear.parameter] = lambda w, reader=reader, turned=turned: _outputs(reader(w), turned)
                if turned is not None:
                    self._changes[f"{linear.name}.bias"] = lambda b, turned=turned: _outputs(b[:, None], turned)[:, 0]

    def _reader(self, source: Source, norm: str) -> Callable[[Any], Any]:
        added = _added(source, norm)
        return lambda w: self.q.rows(w * (source.stored_as(f"{norm}.weight").float() + added))


def _head_rotation(block: Any, seed: int, device: Any) -> Optional[Hadamard]:
    """R2, as wide as a head, where values and the output projection are matrices of their own."""
    found: List[Any] = [each for name, each in block.named_modules() if name.rpartition(".")[2] == "v_proj"]
    size = next((each.head_dim for each in block.modules() if isinstance(getattr(each, "head_dim", None), int)), None)
    return Hadamard(size, seed + 1, device) if found and size else None


def _outputs(weight: Any, turned: Optional[Hadamard]) -> Any:
    """A weight [heads * size, inputs] whose outputs are turned head by head."""
    return weight if turned is None else _inputs(weight.t(), turned).t()


def _inputs(weight: Any, turned: Optional[Hadamard]) -> Any:
    """A weight [outputs, heads * size] whose inputs are."""
    return weight if turned is None else turned.rows(weight.reshape(len(weight), -1, len(turned))).reshape(weight.shape)


def _added(source: Source, norm: str) -> float:
    """What a norm adds to its weight: 1 in the families of Gemma, which keep how far from 1 it is."""
    return 1.0 if "Gemma" in type(source.network.get_submodule(norm)).__name__ else 0.0


def _neutral(source: Source, norm: str) -> Callable[[Any], Any]:
    """The weight of a norm that only normalizes."""
    import torch

    rest = 1.0 - _added(source, norm)
    return lambda weight: torch.full_like(weight, rest)


def _last_norm(source: Source, blocks: Blocks) -> Optional[str]:
    """The norm beside the list of blocks."""
    parent = blocks.name.rpartition(".")[0]
    found = [
        name
        for name, each in source.network.named_modules()
        if name.rpartition(".")[0] == parent and "RMSNorm" in type(each).__name__
    ]
    return found[0] if len(found) == 1 else None
