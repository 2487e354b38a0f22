"""Weights in the form that the model's own state dict has them: Conv1D transposed, the experts of a block in one stack."""

from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Tuple

from dopt.llm.artifact import Reader

#: Models whose linears are transformers' Conv1D, stored as [inputs, outputs].
_CONV1D = ("gpt2", "openai-gpt", "imagegpt")
#: What a layer of such a kind is called where a format has no place for it.
WORDS = {"conv1d": "a Conv1D, not a Linear", "expert": "one matrix of a stack of experts"}


class Form(NamedTuple):
    """``kind``: conv1d or expert. ``parameter``: full name of what is stored. ``transposed``: as [inputs, outputs]."""

    kind: str
    parameter: str
    expert: int
    transposed: bool


def forms_of(reader: Reader) -> Dict[str, Form]:
    """The layers of an artifact that are no Linear, by name; asks transformers only where there may be some.

    Raises DoptError LLM_ARCHITECTURE.
    """
    names = [entry["name"] for entry in reader.index["linears"]]
    stacked = any(name.rpartition(".")[2].isdigit() for name in names)
    if not stacked and reader.config.get("model_type") not in _CONV1D:
        return {}
    from dopt.llm.families import linears_of
    from dopt.llm.network import build_network, require_transformers

    require_transformers()
    _, network = build_network(reader.model_folder)
    others = (each for each in linears_of(network, "") if each.kind != "linear")
    return {each.name: Form(each.kind, each.parameter, each.expert or 0, each.turned) for each in others}


def stored_weights(forms: Dict[str, Form], weights: Iterable[Tuple[str, Any]]) -> Iterator[Tuple[str, Any]]:
    """Full names and arrays as stored, for layers and their weights [N, K]; a stack comes when all weights have come."""
    import numpy as np

    stacks: Dict[str, List[Tuple[int, Any]]] = {}
    for name, weight in weights:
        form = forms.get(name)
        if form is not None and form.transposed:
            weight = np.ascontiguousarray(weight.T)
        if form is None or form.kind == "conv1d":
            yield f"{name}.weight", weight
        else:
            stacks.setdefault(form.parameter, []).append((form.expert, weight))
    for parameter, experts in stacks.items():
        yield parameter, np.stack([weight for _, weight in sorted(experts, key=lambda each: each[0])])
