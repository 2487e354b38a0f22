"""Functions of torch written in C, called with sizes that a captured program computes from shapes."""

import contextlib
import functools
import types
from typing import Any, Callable, Iterator, List

import torch.nn.functional as functional
from torch import fx

from dopt.doors.torch.patches import Replacements


@contextlib.contextmanager
def captured_builtins() -> Iterator[None]:
    """While a graph is captured, functions in C become nodes of it whatever argument is not known yet.

    torch.fx records a call when a tensor argument is a proxy, but functions in C check their other arguments before that:
    ``avg_pool2d(x, x.size()[3])`` is refused, though the program is an ordinary one.
    """
    with Replacements() as replacements:
        for name, function in list(vars(functional).items()):
            # has_torch_function… asks what its arguments are, and must be answered while tracing.
            if isinstance(function, types.BuiltinFunctionType) and not name.startswith(("_", "has_torch_function")):
                replacements.replace(functional, name, _recorded)
        yield


def _recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        proxies: List[fx.Proxy] = []
        fx.node.map_aggregate((args, kwargs), lambda value: proxies.append(value) if isinstance(value, fx.Proxy) else None)
        if not proxies:
            return function(*args, **kwargs)
        return proxies[0].tracer.create_proxy("call_function", function, args, kwargs)

    return call
