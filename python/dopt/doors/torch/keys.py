"""Weights into a network: the names are brought together, every difference is an error that lists it."""

from collections import OrderedDict
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Tuple

from dopt.doors.torch.mismatch import Difference, describe
from dopt.errors import DoptError

#: Put before every name by DataParallel, torch.compile, and classes that hold the network as ``self.model``.
PREFIXES = ("module.", "_orig_mod.", "model.")
#: A counter of training steps in batch normalization, absent in files of torch before 0.4.1; inference does not use it.
_COUNTER = "num_batches_tracked"


class _Candidate(NamedTuple):
    """The weights with some prefixes taken off their names."""

    prefixes: Tuple[str, ...]
    state: Mapping[str, Any]


def load_into(network: Any, state: Mapping[str, Any], path: str) -> List[str]:
    """Loads weights into a torch.nn.Module, all of them and nothing else, and returns notes on what was adapted.

    A prefix that all names share is taken off when the names then match. Half precision is widened by torch's copy.
    Raises DoptError(WEIGHTS_MISMATCH) with the missing names, those that do not belong, and the shapes that differ.
    """
    expected = network.state_dict()
    candidates = list(_candidates(state))
    differences = [compare(expected, candidate.state) for candidate in candidates]
    best = min(range(len(candidates)), key=lambda place: (differences[place].count, place))
    chosen, difference = candidates[best], differences[best]
    notes = [f"{path}: the prefix '{''.join(chosen.prefixes)}' of all names was taken off."] if chosen.prefixes else []
    if difference.kinds:
        raise _mismatch(path, network, expected, chosen.state, difference, None)
    # A class with a load_state_dict of its own takes the names of the file, and none that were added to them.
    renames = difference.count > 0 and _has_own_loading(network)
    complete = chosen.state if renames else _complete(expected, chosen.state, notes, path)
    try:
        # Also tried when names differ: a network may rename older ones as it loads (_load_from_state_dict).
        network.load_state_dict(complete, strict=True)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _mismatch(path, network, expected, chosen.state, difference, error) from error
    if difference.count:
        notes.append(f"{path}: the network renamed or dropped {difference.count} weights as it loaded them.")
    return notes + _conversions(expected, chosen.state, path)


def _has_own_loading(network: Any) -> bool:
    import torch

    return type(network).load_state_dict is not torch.nn.Module.load_state_dict


def compare(expected: Mapping[str, Any], state: Mapping[str, Any]) -> Difference:
    """What would keep ``state`` from going into a network with the state ``expected``; counters may be absent."""
    needed = {name: tensor for name, tensor in expected.items() if _is_tensor(tensor)}
    missing = [name for name in needed if name not in state and not name.endswith(_COUNTER)]
    unexpected = [name for name in state if name not in expected]
    shapes, kinds = [], []
    for name, tensor in needed.items():
        found = state.get(name)
        if found is None or _is_lazy(tensor):
            continue
        if tuple(found.shape) != tuple(tensor.shape) and not (found.numel() == tensor.numel() == 1):
            shapes.append((name, tuple(found.shape), tuple(tensor.shape)))
        elif _kind(found) != _kind(tensor):
            kinds.append((name, _dtype(found), _dtype(tensor)))
    return Difference(missing, unexpected, shapes, kinds)


def _candidates(state: Mapping[str, Any]) -> Iterable[_Candidate]:
    """The weights as they are, then with each prefix that all names share taken off, one after the other."""
    current = _Candidate((), state)
    while True:
        yield current
        shared = [prefix for prefix in PREFIXES if current.state and all(n.startswith(prefix) for n in current.state)]
        if not shared:
            return
        current = _Candidate((*current.prefixes, shared[0]), _strip(current.state, shared[0]))


def _strip(state: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    """Names without the prefix, and the module versions that torch keeps beside them likewise."""
    result: "OrderedDict[str, Any]" = OrderedDict((name[len(prefix) :], tensor) for name, tensor in state.items())
    metadata = getattr(state, "_metadata", None)
    if metadata is not None:
        module = prefix[:-1]
        result._metadata = OrderedDict(  # type: ignore[attr-defined]
            (name[len(prefix) :] if name != module else "", entry)
            for name, entry in metadata.items()
            if name == module or name.startswith(prefix)
        )
    return result


def _complete(expected: Mapping[str, Any], state: Mapping[str, Any], notes: List[str], path: str) -> Mapping[str, Any]:
    """The weights with the network's own values for counters and for what is no tensor (extra state of modules)."""
    counters = [name for name in expected if name not in state and name.endswith(_COUNTER)]
    others = [name for name, value in expected.items() if name not in state and not _is_tensor(value)]
    result: "OrderedDict[str, Any]" = OrderedDict(state)
    for name in (*counters, *others):
        result[name] = expected[name]
    if hasattr(state, "_metadata"):
        result._metadata = state._metadata  # type: ignore[attr-defined]
    if counters:
        notes.append(f"{path} has no {_COUNTER} ({len(counters)} counters of training steps); inference does not use them.")
    if others:
        notes.append(f"{path} has no extra state for {', '.join(others[:5])}; the network's own was kept.")
    return result


def _conversions(expected: Mapping[str, Any], state: Mapping[str, Any], path: str) -> List[str]:
    pairs: Dict[Tuple[str, str], int] = {}
    for name, tensor in expected.items():
        if _is_tensor(tensor) and name in state and state[name].dtype != tensor.dtype:
            pair = (_dtype(state[name]), _dtype(tensor))
            pairs[pair] = pairs.get(pair, 0) + 1
    return [f"{path}: {count} tensors of {found} were converted to {wanted}." for (found, wanted), count in pairs.items()]


def _mismatch(
    path: str, network: Any, expected: Mapping[str, Any], state: Mapping[str, Any], difference: Difference, error: Any
) -> DoptError:
    name = type(network).__name__
    text, hints = describe(difference, list(expected), list(state))
    if difference.count == 0:
        # The network's own code refused weights that fit by name and shape.
        text = f"the network refused them: {str(error)[:300]}"
    return DoptError(
        "WEIGHTS_MISMATCH",
        f"{path} does not fit the network {name}: {text}",
        place=path,
        suggestions=[*hints, f"Check that {name} is the class, and its arguments those, that the weights were trained with."],
    )


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _is_lazy(tensor: Any) -> bool:
    import torch

    return torch.nn.parameter.is_lazy(tensor)


def _kind(tensor: Any) -> str:
    """Kinds that copying must not cross: it would cut off fractions or imaginary parts."""
    dtype = tensor.dtype
    return "complex" if dtype.is_complex else "float" if dtype.is_floating_point else "integer"


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).replace("torch.", "")
