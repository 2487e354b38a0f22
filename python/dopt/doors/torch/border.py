"""Inputs and outputs of a network: the arguments of forward() and the tensors of its result, by name."""

import difflib
import inspect
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from dopt.errors import DoptError


class InputSpec(NamedTuple):
    """One argument of forward(): its name, the shape to trace with, and the numpy name of its type."""

    name: str
    shape: Tuple[int, ...]
    dtype: str = "float32"


def input_specs(network: Any, path: str, shapes: Dict[str, List[int]]) -> List[InputSpec]:
    """The arguments that forward() needs, with the shapes that the user gave.

    Raises DoptError MODEL_INPUT_SHAPE when a shape is missing or belongs to no argument; it proposes what fits.
    """
    required, optional = _arguments(network)
    names = required + [name for name in optional if name in shapes]
    if len(names) == 1 and len(shapes) == 1:
        return [InputSpec(names[0], tuple(next(iter(shapes.values()))))]
    unknown = [name for name in shapes if name not in required + optional]
    missing = [name for name in required if name not in shapes]
    if not unknown and not missing and names:
        return [InputSpec(name, tuple(shapes[name])) for name in names]
    near = difflib.get_close_matches(unknown[0], required + optional, n=1) if unknown else []
    proposal = ";".join(f"{name}:{_proposal(network) if place == 0 else '...'}" for place, name in enumerate(required))
    found = f"{', '.join(unknown)} given, which it does not take" if unknown else f"no shape for {', '.join(missing)}"
    raise DoptError(
        "MODEL_INPUT_SHAPE",
        f"{path}: forward({', '.join(required + optional)}): {found}.",
        place=path,
        suggestions=([f"Did you mean {near[0]}?"] if near else []) + [f'Give the shape of each input: --input-shape "{proposal}"'],
    )


def _arguments(network: Any) -> Tuple[List[str], List[str]]:
    """Names of the arguments without and with a default."""
    import torch

    if isinstance(network, torch.jit.ScriptModule):
        schema = network._c._get_method("forward").schema  # noqa: SLF001 - the only place that knows.
        arguments = [each for each in schema.arguments if each.name != "self"]
        return [a.name for a in arguments if not a.has_default_value()], [a.name for a in arguments if a.has_default_value()]
    parameters = inspect.signature(network.forward).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [p for p in parameters if p.kind in kinds]
    return [p.name for p in named if p.default is p.empty], [p.name for p in named if p.default is not p.empty]


def _proposal(network: Any) -> str:
    """A shape that the first layer takes."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            return f"1,{module.in_channels},224,224"
        if isinstance(module, torch.nn.Conv1d):
            return f"1,{module.in_channels},100"
        if isinstance(module, torch.nn.Linear):
            return f"1,{module.in_features}"
        if isinstance(module, torch.nn.Embedding):
            return "1,32"
    return "1,3,224,224"


def flatten(value: Any, name: str = "output") -> Dict[str, Any]:
    """The tensors in a network's result by name: ``output``, ``output0``.., or the keys of a dict.

    Raises TypeError for results that hold no tensor or something else.
    """
    import torch

    if isinstance(value, torch.Tensor):
        return {name: value}
    if isinstance(value, dict):
        parts = [(str(key) if name == "output" else f"{name}.{key}", each) for key, each in value.items()]
    elif isinstance(value, (tuple, list)):
        parts = [(f"{name}{index}", each) for index, each in enumerate(value)]
    elif value is None:
        parts = []
    else:
        raise TypeError(f"forward() returns {type(value).__name__}")
    found: Dict[str, Any] = {}
    for part, each in parts:
        found.update(flatten(each, part))
    return found


def chosen_outputs(path: str, names: Sequence[str], wanted: Any) -> List[str]:
    """The outputs that the user asked for. Raises DoptError MODEL_OUTPUT with near matches."""
    if wanted is None:
        return list(names)
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
            raise DoptError(
                "MODEL_OUTPUT",
                f"{path}: the network gives no output {name!r}; it gives {', '.join(names)}.",
                place=path,
                suggestions=[f"Did you mean {near[0]}?"] if near else [f"Use --outputs {names[0]}"],
            )
    return list(wanted)
