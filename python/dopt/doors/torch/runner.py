"""A network that takes and gives numpy arrays by name."""

from itertools import combinations, islice
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from dopt.doors.torch.border import InputSpec, flatten
from dopt.errors import DoptError, in_a_line

#: Choices of types that a network is tried with at most: all of six inputs.
MOST_TRIES = 64


class Runner:
    """Runs ``network`` without gradients; ``inputs`` and ``outputs`` are names in order, ``dtypes`` those of the inputs."""

    def __init__(self, network: Any, inputs: Sequence[str], outputs: Optional[Sequence[str]] = None) -> None:
        self.network, self.inputs, self.outputs = network, list(inputs), outputs and list(outputs)

    def __call__(self, feeds: Dict[str, Any]) -> Dict[str, Any]:
        """Outputs by name for one batch."""
        import torch

        with torch.no_grad():
            found = flatten(self.network(*[torch.from_numpy(feeds[name].copy()) for name in self.inputs]))
        return {name: found[name].detach().cpu().numpy() for name in self.outputs or found}

    def modules(self, feeds: Dict[str, Any]) -> Dict[str, Any]:
        """First result of every module that has weights, by the module's name."""
        results: Dict[str, Any] = {}
        handles = []
        for name, module in self.network.named_modules():
            if getattr(module, "weight", None) is None:
                continue

            def keep(_module: Any, _inputs: Any, output: Any, name: str = name) -> None:
                if hasattr(output, "detach"):
                    results.setdefault(name, output.detach().cpu().numpy())

            handles.append(module.register_forward_hook(keep))
        try:
            self(feeds)
        finally:
            for handle in handles:
                handle.remove()
        return results


def random_feeds(specs: Sequence[InputSpec], seed: int, batch: Optional[int], scale: float) -> Dict[str, Any]:
    """Random inputs: normal floats times ``scale``, or small whole numbers. ``batch`` replaces the first size."""
    import numpy as np

    rng = np.random.default_rng(seed)
    feeds = {}
    for name, shape, dtype in specs:
        sizes = shape if batch is None or not shape else (batch,) + tuple(shape[1:])
        if dtype == "float32":
            feeds[name] = (rng.standard_normal(sizes) * scale).astype(np.float32)
        else:
            feeds[name] = rng.integers(0, 10, sizes).astype(dtype)
    return feeds


def with_dtypes(network: Any, specs: List[InputSpec], path: str) -> Tuple[List[InputSpec], Dict[str, Any]]:
    """``specs`` with the types that the network takes, as few whole numbers as it allows, and what it gave for them.

    Raises DoptError MODEL_RUN_FAILED with torch's message when it takes none.
    """
    from dopt.doors.torch.network import newer_torch

    reasons, advice = [], []
    for dtypes in _likely_first(len(specs)):
        typed = [spec._replace(dtype=dtype) for spec, dtype in zip(specs, dtypes)]
        try:
            return typed, Runner(network, [spec.name for spec in specs])(random_feeds(typed, 0, None, 1.0))
        except Exception as error:  # noqa: BLE001 - the user's code raises anything.
            reasons.append(in_a_line(error))
            advice += newer_torch(error)
    shapes = "; ".join(f"{spec.name} {list(spec.shape)}" for spec in specs)
    raise DoptError(
        "MODEL_RUN_FAILED",
        f"{path}: the network fails on inputs of shape {shapes}: {reasons[0]}",
        place=path,
        suggestions=[
            *advice[:1],
            "Check the sizes in --input-shape.",
            "Run the network in your own project with these sizes.",
        ],
    )


def _likely_first(count: int) -> Iterator[Sequence[str]]:
    """Types of ``count`` inputs, the fewest whole numbers first: torch promotes where it adds or joins, so that whole
    numbers in the place of floats would pass, and make another network."""
    yield from islice(
        (
            ["int64" if place in whole else "float32" for place in range(count)]
            for size in range(count + 1)
            for whole in combinations(range(count), size)
        ),
        MOST_TRIES,
    )
    yield ["int64"] * count
