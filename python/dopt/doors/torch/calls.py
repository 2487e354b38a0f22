"""Products and convolutions that a network asks of torch's functions, and not of a layer module of its own.

Attention multiplies activations with ``torch.matmul``, and a module may keep a bare weight for ``F.conv2d``. Such a call has
a name that another run of the same network gives it again: MODULE/FUNCTION/N, the module whose forward() makes it and its
place among the calls made there.
"""

import contextlib
import functools
from typing import Any, Callable, Dict, Iterator, List, Tuple

from dopt.doors.torch.patches import Replacements, composed_attention

#: Function -> positions of the two factors among its arguments, and their names there.
_FACTORS: Dict[str, Tuple[Tuple[int, int], Tuple[str, str]]] = {
    "matmul": ((0, 1), ("input", "other")),
    "mm": ((0, 1), ("input", "mat2")),
    "bmm": ((0, 1), ("input", "mat2")),
    "addmm": ((1, 2), ("mat1", "mat2")),
    "baddbmm": ((1, 2), ("batch1", "batch2")),
    "linear": ((0, 1), ("input", "weight")),
    **{f"conv{n}d": ((0, 1), ("input", "weight")) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": ((0, 1), ("input", "weight")) for n in (1, 2, 3)},
}

#: Takes the name of a call and its two factors, and gives the factors to compute with.
Handler = Callable[[str, List[Any]], List[Any]]


@contextlib.contextmanager
def intercepted(network: Any, handle: Handler) -> Iterator[None]:
    """Lets ``handle`` change the factors of every product and convolution of ``network`` while the context lasts."""
    import torch
    import torch.nn.functional as functional

    within = [""]  # The network itself, whose forward() may be running already.
    counts: Dict[Tuple[str, str], int] = {}

    def wrap(function: str, original: Any) -> Any:
        positions, names = _FACTORS[function]

        @functools.wraps(original)
        def ours(*arguments: Any, **named: Any) -> Any:
            given = list(arguments)
            places = [(given, at) if at < len(given) else (named, name) for at, name in zip(positions, names)]
            if any(isinstance(at, str) and at not in named for _, at in places):
                return original(*arguments, **named)  # Refused by torch, in its own words.
            key = (within[-1], function)
            counts[key] = counts.get(key, -1) + 1
            factors = [holder[at] for holder, at in places]
            for (holder, at), value in zip(places, handle(f"{key[0]}/{function}/{counts[key]}", factors)):
                holder[at] = value
            return original(*given, **named)

        return ours

    with Replacements() as replacements, _followed(network, within):
        composed_attention(replacements)
        for function in _FACTORS:
            for owner in (torch, functional, torch.Tensor):
                replacements.replace(owner, function, lambda original, function=function: wrap(function, original))
        replacements.replace(torch.Tensor, "__matmul__", lambda original: wrap("matmul", original))
        yield


@contextlib.contextmanager
def _followed(network: Any, within: List[str]) -> Iterator[None]:
    """Keeps the names of the modules whose forward() is running in ``within``, the innermost last."""
    handles = []
    for name, module in network.named_modules():
        if module is network:
            continue

        def enter(_module: Any, _inputs: Any, name: str = name) -> None:
            within.append(name)

        def leave(_module: Any, _inputs: Any, _output: Any) -> None:
            within.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def recorded_factors(network: Any, feeds: Dict[str, Any]) -> Dict[str, List[Any]]:
    """The two factors of each product and convolution of one run as numpy arrays, by the call's name.

    ``feeds``: numpy arrays in the order of the arguments of forward().
    """
    import torch

    found: Dict[str, List[Any]] = {}

    def keep(name: str, factors: List[Any]) -> List[Any]:
        found[name] = [each.detach().cpu().numpy().copy() for each in factors]
        return factors

    with torch.no_grad(), intercepted(network, keep):
        network(*[torch.from_numpy(each.copy()) for each in feeds.values()])
    return found
