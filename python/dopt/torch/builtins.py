"""Functions of torch written in C, called with sizes that a captured program computes from shapes."""

import contextlib
import dis
import functools
import inspect
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


@contextlib.contextmanager
def captured_unpacking() -> Iterator[None]:
    """While a graph is captured, ``b, t, c = x.size()`` is taken apart in Python 3.11 as well.

    torch.fx reads in the bytecode how many values are wanted; before PyTorch 2 it counts instructions of two bytes, which those of
    Python 3.11 are not.
    """
    with Replacements() as replacements:
        replacements.replace(fx.Proxy, "__iter__", lambda original: functools.wraps(original)(_unpacked))
        yield


def _unpacked(proxy: fx.Proxy) -> Iterator[Any]:
    caller = inspect.currentframe().f_back  # type: ignore[union-attr]
    instructions = dis.get_instructions(caller.f_code)  # type: ignore[union-attr]
    wanted = next((each for each in instructions if each.offset == caller.f_lasti), None)  # type: ignore[union-attr]
    if wanted is not None and wanted.opname == "UNPACK_SEQUENCE":
        return (proxy[index] for index in range(wanted.argval))
    return proxy.tracer.iter(proxy)


def _recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        proxies: List[fx.Proxy] = []
        fx.node.map_aggregate((args, kwargs), lambda value: proxies.append(value) if isinstance(value, fx.Proxy) else None)
        if not proxies:
            return function(*args, **kwargs)
        return proxies[0].tracer.create_proxy("call_function", function, args, kwargs)

    return call
