"""Finds the weights in what a checkpoint holds. Pure functions over plain data; the only tensors looked at are by type."""

from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

#: Keys under which programs keep a network's weights, in the order in which they are taken.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "ema", "weights")
#: A wrapper in a wrapper: ``{'model': {'state_dict': …}}``.
_DEPTH = 2


class Found(NamedTuple):
    """Tensors by name, what the user should know of how they were chosen, and the keys that led to them."""

    state: Dict[str, Any]
    notes: List[str]
    path: Tuple[str, ...]


def find_state(value: Any) -> Found:
    """The mapping of names to tensors in a loaded checkpoint; empty when there is none.

    A mapping of tensors alone is taken as it is; else the first of ``WRAPPERS`` that leads to one, a level or two deep;
    else the only other key that does; else the tensors among the values. Optimizers are mappings of numbers and are not
    taken.
    """
    notes: List[str] = []
    path, state = _descend(value, (), notes)
    kept = {name: tensor for name, tensor in state.items() if isinstance(name, str) and _is_tensor(tensor)}
    left = [str(name) for name in state if name not in kept]
    if kept and left:
        more = ", …" if left[5:] else ""
        notes.append(f"{len(left)} entries beside the tensors were not taken: {', '.join(left[:5])}{more}.")
    if path and path[-1] not in WRAPPERS:
        notes.append(f"The weights were found under {'.'.join(path)!r}.")
    return Found(_like(state, kept), notes, path)


def _descend(value: Any, path: Tuple[str, ...], notes: List[str]) -> Tuple[Tuple[str, ...], Mapping[Any, Any]]:
    if not isinstance(value, Mapping):
        return path, {}
    if _has_only_tensors(value) or len(path) >= _DEPTH:
        return path, value
    candidates = [key for key in WRAPPERS if _leads_to_tensors(value.get(key), len(path) + 1)]
    if not candidates and not any(map(_is_tensor, value.values())):
        others = [key for key in value if isinstance(key, str) and _has_only_tensors(value[key])]
        candidates = others if len(others) == 1 else []
        if len(others) > 1:
            notes.append(f"It has several sets of weights and none under a usual name: {', '.join(others[:8])}.")
    if not candidates:
        return path, value
    taken, passed = candidates[0], candidates[1:]
    if passed:
        notes.append(f"It has {' and '.join(map(repr, candidates))}; {taken!r} was taken.")
    return _descend(value[taken], (*path, taken), notes)


def _leads_to_tensors(value: Any, depth: int) -> bool:
    if not isinstance(value, Mapping):
        return False
    if any(map(_is_tensor, value.values())):
        return True
    return depth < _DEPTH and any(_leads_to_tensors(value.get(key), depth + 1) for key in WRAPPERS)


def _has_only_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 0 and all(map(_is_tensor, value.values()))


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _like(state: Mapping[Any, Any], kept: Dict[str, Any]) -> Dict[str, Any]:
    """``kept`` with the module versions that torch keeps beside the tensors, where there are any."""
    from collections import OrderedDict

    metadata = getattr(state, "_metadata", None)
    if metadata is None:
        return kept
    result: "OrderedDict[str, Any]" = OrderedDict(kept)
    result._metadata = metadata  # type: ignore[attr-defined]
    return result
