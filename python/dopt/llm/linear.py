"""Linears whose weights are kept small: as they are stored in the file, and as integers with scales.

The float32 matrix that a product needs exists only while it is computed, so a block takes half of its float32 size (or
all of it, where the file is float32) plus its integers, whatever runs through it. Which of the two weights is used is
decided for each thread (``use``), so that one block serves the float and the quantized model.
"""

import contextlib
import threading
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from dopt.llm.families import Linear, linears_of
from dopt.llm.product import multiply

FLOAT, QUANTIZED = "float", "quantized"

_thread = threading.local()


@contextlib.contextmanager
def use(mode: str, seen: Optional["Seen"] = None) -> Iterator[None]:
    """Linears of this thread multiply with their float or their quantized weights, and tell ``seen`` of their inputs."""
    before = getattr(_thread, "state", (FLOAT, None))
    _thread.state = (mode, seen)
    try:
        yield
    finally:
        _thread.state = before


def is_quantized() -> bool:
    """Whether this thread uses quantized weights."""
    return getattr(_thread, "state", (FLOAT, None))[0] == QUANTIZED


def current_seen() -> Optional["Seen"]:
    """Who wants to know of inputs on this thread."""
    return getattr(_thread, "state", (FLOAT, None))[1]


class Stop(Exception):
    """Ends a forward pass in which everything wanted has been seen."""


class Seen:
    """Inputs of linears during one pass: ``inputs[name]`` are tensors [tokens, inputs]. Stops when all ``wanted`` came.

    ``residual`` is the residual stream, [batch, length, width], where the pass is (``dopt.llm.residual``), ``residuals[name]`` what
    it was at a linear, [tokens, width].
    """

    def __init__(self, wanted: Optional[List[str]] = None, stop: bool = True) -> None:
        self.wanted = None if wanted is None else set(wanted)
        self.stop = stop
        self.inputs: Dict[str, Any] = {}
        self.residual: Optional[Any] = None
        self.residuals: Dict[str, Any] = {}
        self.order: List[str] = []
        self.keys: Dict[str, Any] = {}

    def add(self, name: str, x: Any) -> None:
        if self.wanted is not None and name not in self.wanted:
            return
        self.order.append(name)
        self.keys[name] = (x.data_ptr(), tuple(x.shape), x._version)
        self.keep(name, x)
        if self.stop and self.wanted is not None and len(self.inputs) == len(self.wanted):
            raise Stop()

    def pass_on(self, residual: Any) -> None:
        """The residual stream as it goes on."""
        self.residual = residual

    def keep(self, name: str, x: Any) -> None:
        """What a linear is given, and where it stands."""
        self.inputs[name] = x.reshape(-1, x.shape[-1])
        if self.residual is not None:
            self.residuals[name] = self.residual.reshape(-1, self.residual.shape[-1])


class Weight:
    """The weight of a linear, [outputs, inputs], in its two forms."""

    def __init__(self, linear: Linear, stored: Optional[Any], reader: Optional[Callable[[], Any]] = None) -> None:
        """``stored``: as in the file, transposed where ``linear.turned``; None where there are only integers. ``reader``: reads it again."""
        self.linear = linear
        self._stored, self._reader = stored, reader
        self.integers: Optional[Any] = None
        self.scales: Optional[Any] = None
        self._keeps = False
        self._product: Optional[Any] = None

    @property
    def shape(self) -> Tuple[int, int]:
        """(outputs, inputs)."""
        return self.linear.shape

    def float(self) -> Any:
        """float32 [outputs, inputs]."""
        weight = self._held().float()
        return weight.t() if self.linear.turned else weight

    def rows(self, rows: slice) -> Any:
        """Some rows of ``float``, contiguous; not to be written to."""
        stored = self._held()
        return (stored[:, rows].t() if self.linear.turned else stored[rows]).float().contiguous()

    def let_go(self) -> None:
        """Frees the float weight, which is not asked for soon: it is read again when it is."""
        if self._reader is not None:
            self._stored = None

    def drop(self) -> None:
        """Frees all: the block is done."""
        self._stored = self._reader = self.integers = self.scales = self._product = None

    def _held(self) -> Any:
        if self._stored is None and self._reader is not None:
            self._stored = self._reader()
        return self._stored

    def stored(self) -> Any:
        """float32 as a numpy array, in the orientation of the file."""
        return self._held().float().cpu().numpy()

    def replace(self, weight: Any) -> None:
        """Another float weight, [outputs, inputs] float32."""
        self._reader = None
        self._stored = weight.t().contiguous() if self.linear.turned else weight

    def set_quantized(self, integers: Any, scales: Any) -> None:
        """int8 [outputs, inputs] and float32 [outputs, groups], tensors."""
        self.integers, self.scales, self._product = integers, scales, None

    def keep(self, keeps: bool) -> None:
        """Whether what ``quantized`` gives is kept, for many products in a row."""
        self._keeps, self._product = keeps, None

    def quantized(self) -> Any:
        """float32 [outputs, inputs]: the integers times their scales; the float weight where there are no integers."""
        if self.integers is None:
            return self.float()
        if self._product is not None:
            return self._product
        outputs, inputs = self.integers.shape
        groups = self.scales.shape[1]
        product = self.integers.view(outputs, groups, inputs // groups).float().mul_(self.scales[:, :, None])
        product = product.view(outputs, inputs)
        if self._keeps:
            self._product = product
        return product

    def current(self) -> Any:
        """The one that this thread uses."""
        only = self._stored is None and self._reader is None
        return self.quantized() if only or is_quantized() else self.float()


def make_linear(weight: Weight, bias: Optional[Any]) -> Any:
    """A module that stands in for a Linear or Conv1D."""
    import torch

    class StreamedLinear(torch.nn.Module):
        """Multiplies with the weight that the thread uses."""

        def __init__(self) -> None:
            super().__init__()
            self.held = weight
            self.bias = None if bias is None else torch.nn.Parameter(bias, requires_grad=False)
            self.in_features, self.out_features = weight.linear.shape[1], weight.linear.shape[0]

        @property
        def weight(self) -> Any:
            return self.held.current()

        def forward(self, x: Any) -> Any:
            seen = current_seen()
            if seen is not None:
                seen.add(weight.linear.name, x)
            return multiply(x, weight.current(), self.bias)

    return StreamedLinear()


@contextlib.contextmanager
def outputs_told(block: Any, tell: Callable[[str, Any], Any]) -> Iterator[None]:
    """While linears of a filled block tell ``tell(name, output)`` what they give; what it returns, unless None, goes on instead."""

    def listener(name: str) -> Callable[[Any, Any, Any], Any]:
        return lambda _module, _given, output: tell(name, output)

    linears = [each for each in block.modules() if is_streamed(each)]
    handles = [each.register_forward_hook(listener(each.held.linear.name)) for each in linears]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def stream_block(source: Any, block: Any, prefix: str) -> Dict[str, Weight]:
    """Fills a block with its weights, linears with ones that are kept small. Returns the weights by name of linear.

    Stacks of experts stay parameters in float32; ``dopt.llm.experts`` intercepts their products.
    """
    import torch

    weights: Dict[str, Weight] = {}
    for linear in linears_of(block, prefix):
        if linear.kind == "expert":
            continue
        weight = source.weight(linear)
        bias = source.read(f"{linear.name}.bias") if linear.bias else None
        owner, leaf = _owner(block, linear.name[len(prefix) + 1 :])
        setattr(owner, leaf, make_linear(weight, bias))
        weights[linear.name] = weight
    for path, owner in block.named_modules():
        if is_streamed(owner):
            continue
        for leaf, value in owner._parameters.items():
            if value is not None:
                name = ".".join(part for part in (prefix, path, leaf) if part)
                owner._parameters[leaf] = torch.nn.Parameter(source.read(name), requires_grad=False)
    return weights


def is_streamed(module: Any) -> bool:
    """Whether a module is of ``make_linear``."""
    return type(module).__name__ == "StreamedLinear"  # the class is made when torch is there


def _owner(block: Any, path: str) -> Any:
    *parents, leaf = path.split(".")
    for name in parents:
        block = getattr(block, name)
    return block, leaf
