"""What is asked for each linear of a model, checked."""

from typing import Any, Dict, List

from dopt.errors import DoptError
from dopt.llm.families import Linear, linears_of
from dopt.llm.load import Source
from dopt.llm.stream import Stream


def checked_strategies(source: Source, stream: Stream, wanted: List[Dict[str, Any]]) -> Dict[str, Dict[str, Any]]:
    """``llmStrategySchema`` by name. Raises DoptError LLM_STRATEGY for names and groups that do not fit the model."""
    known: Dict[str, Linear] = {}
    for index in range(len(stream)):
        known.update((each.name, each) for each in linears_of(stream.block(index), stream.prefix(index)))
    known.update((each.name, each) for each in linears_of(source.network, "") if each.name == source.head_name)
    chosen = {each["name"]: each for each in wanted}
    for name, strategy in chosen.items():
        linear = known.get(name)
        if linear is None:
            raise DoptError("LLM_STRATEGY", f"The model has no linear called {name}.", found=f"{len(known)} linears")
        group = strategy["groupSize"]
        if group and linear.shape[1] % group:
            raise DoptError(
                "LLM_GROUP_SIZE",
                f"Groups of {group} do not divide the {linear.shape[1]} inputs of {name}.",
                suggestions=["Take another group size for it, or 0: one scale a row."],
            )
    stacks: Dict[str, List[bool]] = {}
    for linear in known.values():
        if linear.kind == "expert":
            stacks.setdefault(linear.parameter, []).append(linear.name in chosen)
    for parameter, taken in stacks.items():
        if any(taken) and not all(taken):
            raise DoptError("LLM_STRATEGY", f"Some experts of {parameter} have a strategy, others none.")
    return chosen
