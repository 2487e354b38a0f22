"""What ``dopt plugin check`` sees of PyTorch: networks that are quantized, and calls of them."""

import contextlib
from typing import Any, Callable, Iterator

from dopt.plugin.probe import Description, described, replace_function


@contextlib.contextmanager
def watch(found: Callable[[Description], None], called: Callable[[], None]) -> Iterator[None]:
    """See dopt/plugin/probe.py."""
    import dopt.dopt_torch.opt_main  # noqa: F401 - it holds a name of the function, too.
    from dopt.torch import api
    from dopt.torch.build import build
    from dopt.torch.network import QuantizedNetwork

    forward = QuantizedNetwork.forward

    def watched_build(*args: Any, **kwargs: Any) -> Any:
        network = build(*args, **kwargs)
        name = type(network).__name__.replace("Quantized", "", 1)
        found(lambda: described(name, api.layers(network)))
        return network

    def watched_forward(network: Any, *args: Any, **kwargs: Any) -> Any:
        result = forward(network, *args, **kwargs)
        called()
        return result

    replace_function(build, watched_build)
    QuantizedNetwork.forward = watched_forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        QuantizedNetwork.forward = forward  # type: ignore[method-assign]
        replace_function(watched_build, build)
