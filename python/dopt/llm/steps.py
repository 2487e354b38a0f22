"""In which order the linears of a block are solved, and which of them share an input; found by running the block once."""

from typing import Any, Dict, List

from dopt.llm.families import Linear
from dopt.llm.linear import Seen

#: One step: groups of names that share an input.
Step = List[List[str]]


def steps_of(seen: Seen, linears: Dict[str, Linear], sequential: bool) -> List[Step]:
    """Steps over ``linears``, those that ``seen`` met in its order, and behind them those that it did not.

    Groups whose names differ by numbers alone (the experts of a mixture) do not depend on each other: one step.
    """
    groups: Dict[Any, List[str]] = {}
    for name in seen.order:
        if name in linears and not any(name in group for group in groups.values()):
            groups.setdefault(seen.keys[name], []).append(name)
    met = [name for group in groups.values() for name in group]
    steps: Dict[Any, Step] = {}
    for group in groups.values():
        steps.setdefault(tuple(linears[name].pattern for name in group), []).append(group)
    missed = [name for name in linears if name not in met]
    for name in missed:  # experts that no token of the first samples reached
        key = next((key for key in steps if linears[name].pattern in key), (linears[name].pattern,))
        _join(steps.setdefault(key, []), name, linears)
    ordered = list(steps.values())
    return ordered if sequential else [[group for step in ordered for group in step]]


def _join(step: Step, name: str, linears: Dict[str, Linear]) -> None:
    """Puts a name to the group of its own expert, or into a group of its own."""
    place = _place(name)
    patterns = {linears[each].pattern for group in step for each in group}
    for group in step:
        same = all(_place(each) == place and linears[each].kind != "expert" for each in group)
        if same and linears[name].pattern in patterns and all(linears[e].pattern != linears[name].pattern for e in group):
            group.append(name)
            return
    step.append([name])


def _place(name: str) -> str:
    return name.rpartition(".")[0]
