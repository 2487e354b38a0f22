"""What a decoder consists of, found by its shape and not by the name of its family: blocks, linears, norms.

Whatever transformers calls a causal language model has a list of as many equal blocks as its settings say. Inside of a
block a linear is a torch ``Linear``, GPT-2's ``Conv1D``, or a three-dimensional parameter that holds the matrices of all
experts of a mixture.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from dopt.errors import DoptError

_DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


class Blocks(NamedTuple):
    """The list of a network's blocks and its name."""

    name: str
    modules: Any  # torch.nn.ModuleList

    def prefix(self, index: int) -> str:
        return f"{self.name}.{index}"


class Linear(NamedTuple):
    """A matrix that multiplies activations.

    ``name``: its module, or the parameter and number of an expert. ``shape``: [outputs, inputs]. ``parameter``: full name of
    the weight. ``kind``: linear, conv1d or expert (one matrix of a stack). ``turned``: whether it is stored as [inputs, outputs].
    """

    name: str
    kind: str
    shape: Tuple[int, int]
    parameter: str
    expert: Optional[int]
    bias: bool
    turned: bool = False

    @property
    def is_expert(self) -> bool:
        """Whether only some tokens come to it."""
        return self.kind == "expert" or ".experts." in self.name

    @property
    def pattern(self) -> str:
        """The name with every number left out: equal for experts that do the same."""
        return re.sub(r"\.\d+(?=\.|$)", ".*", self.name)


def find_blocks(network: Any, config: Any) -> Blocks:
    """The list of decoder blocks. Raises DoptError LLM_NO_BLOCKS."""
    import torch

    depths = {getattr(each, key, None) for each in (config, _text_config(config)) for key in _DEPTHS} - {None}
    lists = [(name, each) for name, each in network.named_modules() if isinstance(each, torch.nn.ModuleList) and len(each)]
    fitting = [(name, each) for name, each in lists if len(each) in depths and len({type(one) for one in each}) == 1]
    fitting = [(name, each) for name, each in fitting if linears_of(each[0], "")]
    if not fitting:
        raise DoptError(
            "LLM_NO_BLOCKS",
            f"No list of {' or '.join(map(str, sorted(depths))) or 'equal'} decoder blocks was found in {type(network).__name__}.",
            suggestions=["Only decoders that transformers loads with AutoModelForCausalLM can be quantized."],
            found=", ".join(f"{name}: {len(each)}" for name, each in lists) or "no list of modules",
        )
    return Blocks(*max(fitting, key=lambda item: sum(p.numel() for p in item[1].parameters())))


def linears_of(module: Any, prefix: str) -> List[Linear]:
    """Every linear below ``module``, which is called ``prefix``, in the order of the modules."""
    import torch

    found: List[Linear] = []
    routers = {id(router) for each in module.modules() for router in _routers(each)}
    for path, each in module.named_modules():
        name = ".".join(part for part in (prefix, path) if part)
        if id(each) in routers:
            continue
        if isinstance(each, torch.nn.Linear):
            found.append(Linear(name, "linear", tuple(each.weight.shape), f"{name}.weight", None, each.bias is not None))
        elif type(each).__name__ == "Conv1D":
            shape = tuple(each.weight.shape)[::-1]
            found.append(Linear(name, "conv1d", shape, f"{name}.weight", None, each.bias is not None, turned=True))
        else:
            found.extend(_experts(each, name))
    return found


def is_fused_experts(module: Any) -> bool:
    """Whether a module's own parameters are stacks of matrices."""
    return any(p is not None and p.dim() == 3 and min(p.shape) > 1 for p in module._parameters.values())


def uncovered(module: Any, prefix: str, covered: List[Linear]) -> List[Dict[str, Any]]:
    """Matrices below ``module`` that are no linear: they stay float."""
    known = {linear.parameter for linear in covered}
    found = []
    for path, each in module.named_modules():
        for leaf, value in each._parameters.items():
            name = ".".join(part for part in (prefix, path, leaf) if part)
            # Biases of experts lie together in one array.
            if value is not None and value.dim() >= 2 and name not in known and not leaf.endswith("bias"):
                found.append({"name": name, "shape": [int(size) for size in value.shape]})
    return found


def norm_kind(network: Any, blocks: Blocks) -> str:
    """``rms``, ``layer`` or ``other``: what most norms of a block are."""
    names = [type(each).__name__ for each in blocks.modules[0].modules()]
    if any("RMSNorm" in name for name in names):
        return "rms"
    return "layer" if any("LayerNorm" in name for name in names) else "other"


def context_of(config: Any) -> Optional[int]:
    """Longest context in tokens, where the settings say it."""
    for each in (config, _text_config(config)):
        for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
            value = getattr(each, key, None)
            if isinstance(value, int) and value > 0:
                return value
    return None


def _routers(module: Any) -> List[Any]:
    """What chooses among the experts of a mixture: small, and every error in it sends tokens elsewhere, so it stays float."""
    children = dict(module.named_children())
    return [children[name] for name in ("gate", "router") if "experts" in children and name in children]


def _text_config(config: Any) -> Any:
    get = getattr(config, "get_text_config", None)
    return config if get is None else get()


def _experts(module: Any, name: str) -> List[Linear]:
    found = []
    for leaf, value in module._parameters.items():
        if value is None or value.dim() != 3 or min(value.shape) <= 1:
            continue
        turned = bool(getattr(module, "is_transposed", False))
        outputs, inputs = tuple(value.shape[1:])[:: -1 if turned else 1]
        bias = module._parameters.get(f"{leaf}_bias") is not None
        parameter = ".".join(part for part in (name, leaf) if part)
        for expert in range(value.shape[0]):
            found.append(Linear(f"{parameter}.{expert}", "expert", (outputs, inputs), parameter, expert, bias, turned))
    return found
