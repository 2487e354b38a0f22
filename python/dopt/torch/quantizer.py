"""The quantizer of an activation: observes, rounds with a learned grid, or marks its place in an exported graph."""

import warnings
from typing import Any, Optional, Tuple

import torch
from torch import Tensor, nn

from dopt.plugin.grids import observed_range, parameters_of
from dopt.plugin.numbers import Quantizer
from dopt.plugin.refusals import not_finite
from dopt.plugin.strategies import EMA_RATE, Grid, rule_of
from dopt.torch.functions import RoundActivation


class ActivationQuantizer(nn.Module):
    """Rounds one tensor to ``grid``. ``fixed``: the range that its producer sets (softmax, sigmoid), which nothing moves.

    Modes: ``off`` hands values on, ``observe`` counts them and hands them on, ``on`` rounds, ``export`` marks.
    Parameters and buffers are float32; ``scale0`` is 0 until a range is known.
    """

    def __init__(self, name: str, grid: Grid, method: str, fixed: Optional[Tuple[float, float]] = None) -> None:
        super().__init__()
        self.name, self.grid, self.method, self.fixed = name, grid, method, fixed
        self.mode = "on"
        self.histograms: Any = None
        self.index = 0
        #: What marks it in an exported graph.
        self.number = 0
        self.register_buffer("scale0", torch.zeros(()))
        self.register_buffer("zero0", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("samples", torch.zeros((), dtype=torch.int64))
        learns = fixed is None and method != "ema"
        for parameter in ("log_scale", "shift"):
            self.register_parameter(parameter, nn.Parameter(torch.zeros(1)) if learns else None)
        if fixed is not None:
            self._take(*fixed)

    def extra_repr(self) -> str:
        kind = f"{'int' if self.grid.signed else 'uint'}{self.grid.bits}"
        return f"{kind}, {'fixed' if self.fixed else self.method}, {self.mode}"

    @property
    def is_calibrated(self) -> bool:
        """Whether a range is known."""
        return bool(self.scale0 > 0)

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "on":
            return self._round(x)
        if self.mode == "observe":
            self._observe(x)
            return x
        if self.mode == "export":
            return MarkQuantizer.apply(x, self.number)
        return x

    def scale(self) -> Tensor:
        """s0·exp(θ), float32, as it is exported."""
        if self.log_scale is None:
            return self.scale0
        return self.scale0 * torch.exp(self.log_scale.detach()[0])

    def zero_point(self) -> Tensor:
        """round(z0 + Q·ζ) inside the integer type, so that zero stays exact. Of a tensor that is never negative it is 0."""
        if self.grid.symmetric or self.shift is None or self.seen[0] >= 0:
            return self.zero0
        moved = self.zero0 + (self.grid.high - self.grid.low) * self.shift.detach()[0]
        return moved.round().clamp(self.grid.low, self.grid.high)

    def _round(self, x: Tensor) -> Tensor:
        if self.fixed is None and not self.is_calibrated:
            if not self.training:
                _warn_uncalibrated(self.name)
                return x
            self._start(x)
        elif self.training and self.method == "ema" and self.fixed is None:
            self._follow(x.detach())
        x = x.float()
        log_scale = self.scale0.new_zeros(1) if self.log_scale is None else self.log_scale
        shift = self.scale0.new_zeros(1) if self.shift is None else self.shift
        limits = (self.grid.low, self.grid.high)
        return RoundActivation.apply(
            x, log_scale, shift, self.scale(), self.zero_point(), limits, self.method == "pact"
        )

    def _observe(self, x: Tensor) -> None:
        values = x.detach().to("cpu", torch.float32).contiguous()
        self.histograms.update([(self.index, values.data_ptr(), values.numel())])
        if self.histograms.nonfinite()[self.index]:
            raise not_finite(self.name, ["Leave half precision (autocast) out while calibrating."])
        self.samples += x.shape[0] if x.dim() else 1

    def finish(self) -> None:
        """Turns what was observed into a range and forgets earlier training of it."""
        state = self.histograms.states()[self.index]
        if self.fixed is None and state["count"]:
            low, high = observed_range(self.histograms, self.index, self.grid)
            self._take(low, high, (state["min"], state["max"]))

    def _start(self, x: Tensor) -> None:
        """A range from the first batch of training, where nobody calibrated."""
        from dopt import native

        self.histograms, self.index = native.load().histograms(1), 0
        self._observe(x)
        self.finish()
        self.histograms = None

    def _follow(self, x: Tensor) -> None:
        """Running means of the extremes (Jacob et al., arXiv:1712.05877, section 3.1)."""
        now = torch.stack([x.min().clamp(max=0), x.max().clamp(min=0)]).to(self.seen.dtype)
        self.seen.lerp_(now, EMA_RATE)
        scale, zero = parameters_of(float(self.seen[0]), float(self.seen[1]), self.grid)
        self.scale0.fill_(scale)
        self.zero0.fill_(zero)

    @torch.no_grad()
    def _take(self, low: float, high: float, seen: Optional[Tuple[float, float]] = None) -> None:
        scale, zero = parameters_of(low, high, self.grid)
        self.scale0.fill_(scale)
        self.zero0.fill_(zero)
        if seen is not None:
            self.seen.copy_(torch.tensor(seen))
        for parameter in (self.log_scale, self.shift):
            if parameter is not None:
                parameter.zero_()

    def numbers(self) -> Quantizer:
        """What is exported."""
        trained = self.log_scale is not None and bool(self.log_scale.detach().ne(0).any())
        rule = rule_of(self.grid, self.method, self.fixed is not None, trained)
        seen = self.fixed or (float(self.seen[0]), float(self.seen[1]))
        return Quantizer(self.name, self.grid, float(self.scale()), int(self.zero_point()), seen, rule)


class MarkQuantizer(torch.autograd.Function):
    """Stands for a quantizer while a graph is exported: a QDQ pair whose scale is the number of the quantizer.

    These are operators that torch's exporter knows the shapes of; onnx_graph.py finds them and takes them out.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, number: int) -> Tensor:
        return x.clone()

    @staticmethod
    def symbolic(g: Any, x: Any, number: int) -> Any:
        scale = g.op("Constant", value_t=torch.tensor(float(number)))
        zero = g.op("Constant", value_t=torch.tensor(0, dtype=torch.uint8))
        return g.op("DequantizeLinear", g.op("QuantizeLinear", x, scale, zero), scale, zero)


def _warn_uncalibrated(name: str) -> None:
    warnings.warn(
        f"The input of {name} has no range yet and stays float: calibrate the network, or train it.", stacklevel=2
    )
