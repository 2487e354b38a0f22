"""Convolutions and fully connected layers whose weights and biases lie on integer grids, batch normalization folded in.

A layer keeps the class, the parameters and the names of the user's module and gains a scale a channel, so that ordinary
checkpoints and optimizers work. Its input is rounded outside (quantizer.py), where several layers may share it.
"""

from typing import Any, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from dopt.plugin.grids import BIAS_LIMIT, SMALLEST, weight_scales
from dopt.plugin.numbers import LayerNumbers
from dopt.plugin.strategies import WARM_UP, weight_limit
from dopt.torch.functions import RoundWeight, integers_of
from dopt.torch.quantizer import ActivationQuantizer


class Folded(NamedTuple):
    """γ/σ and the bias of a layer with its batch normalization folded in, one an output channel."""

    factor: Tensor
    bias: Optional[Tensor]


class QuantizedLayer:
    """What a layer gains. Mixed in front of the user's own class by ``quantize_layer``."""

    def begin(
        self: Any, path: str, bits: int, per_channel: bool, quantizer: ActivationQuantizer, owns_quantizer: bool
    ) -> None:
        """Adds scales. ``owns_quantizer``: the layer rounds its input itself, where no graph could be captured."""
        self.path, self.bits, self.mode = path, bits, "on"
        self.channel_axis = 1 if self.transposed_weight else 0
        channels = self.weight.shape[self.channel_axis] if per_channel else 1
        self.per_channel = per_channel
        # Not registered: the quantizer belongs to the network, or to us under another name, and must not be listed twice.
        object.__setattr__(self, "_input", [quantizer])
        object.__setattr__(self, "_norm", [])
        self.input_quantizer = quantizer if owns_quantizer else None
        self.weight_log_scale = nn.Parameter(self.weight.new_zeros(channels, dtype=torch.float32))
        self.register_buffer("weight_scale0", self.weight.new_zeros(channels, dtype=torch.float32))
        self.register_buffer("norm_steps", torch.zeros((), dtype=torch.int64, device=self.weight.device))
        self.warm_up = WARM_UP

    @property
    def transposed_weight(self: Any) -> bool:
        return isinstance(self, nn.modules.conv._ConvTransposeNd)

    @property
    def quantizer(self: Any) -> ActivationQuantizer:
        """The quantizer of the layer's input."""
        return self._input[0]

    @property
    def norm(self: Any) -> Any:
        """The batch normalization behind the layer that it computes, or None."""
        return self._norm[0] if self._norm else None

    def adopt(self: Any, norm: nn.Module) -> None:
        """Takes in the batch normalization behind; the module keeps its parameters, and hands values on."""
        self._norm.append(norm)
        norm.__class__ = type(f"Folded{type(norm).__name__}", (FoldedNorm, type(norm)), {})

    @property
    def is_calibrated(self: Any) -> bool:
        """Whether the weight has scales."""
        return bool((self.weight_scale0 > 0).all())

    @torch.no_grad()
    def calibrate(self: Any) -> None:
        """Scales from the weight as it is now: least squared error, a channel or all of it."""
        turned = self.weight.detach().transpose(0, self.channel_axis)
        values = (turned.reshape(turned.shape[0] if self.per_channel else 1, -1)).float().cpu().numpy()
        self.weight_scale0.copy_(torch.from_numpy(weight_scales(values, self.bits)))
        self.weight_log_scale.zero_()

    def forward(self: Any, x: Tensor, *sizes: Any) -> Tensor:
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
        if self.mode == "export":
            return self._apply(x, self._export_weight, self._export_bias, *sizes)
        if self.mode == "off" or self.quantizer.mode != "on" or not self.quantizer.is_calibrated:
            return self._float(x, *sizes)
        if not self.is_calibrated:
            self.calibrate()
        if self.norm is not None and self.training and self.norm_steps < self.warm_up:
            return self._warming(x, *sizes)
        folded = self.folded()
        scale = self.weight_scale(folded)
        weight = self._round(folded.factor, scale)
        return self._apply(x, weight, self._rounded_bias(folded, scale), *sizes)

    def _float(self: Any, x: Tensor, *sizes: Any) -> Tensor:
        """The layer without rounding, statistics as they are."""
        y = self._apply(x, self.weight, self.bias, *sizes)
        return y if self.norm is None else self.norm.normalize(y, False)

    def _warming(self: Any, x: Tensor, *sizes: Any) -> Tensor:
        """Rounded weights, then batch normalization with the statistics of the batch."""
        one = self.weight.new_ones(self.weight_scale0.shape)
        y = self._apply(x, self._round(one, self.scale()), self.bias, *sizes)
        self.norm_steps += 1
        return self.norm.normalize(y, True)

    def folded(self: Any) -> Folded:
        """Factor and bias of the folded layer, by the running statistics: γ/σ and β + (b − μ)·γ/σ."""
        if self.norm is None:
            return Folded(self.weight.new_ones(self.weight_scale0.shape, dtype=torch.float32), self.bias)
        return self.norm.fold(self.bias)

    def scale(self: Any) -> Tensor:
        """Scales of the unfolded weight, float32."""
        return self.weight_scale0 * torch.exp(self.weight_log_scale.detach())

    def weight_scale(self: Any, folded: Folded) -> Tensor:
        """Scales of the unfolded weight, wide enough that folded ones are no subnormal numbers and the bias fits int32."""
        scale = self.scale()
        factor = folded.factor.detach().abs()
        input_scale = self.quantizer.scale()
        least = torch.clamp(SMALLEST / input_scale, min=SMALLEST).expand_as(scale)
        if folded.bias is not None:
            needed = folded.bias.detach().float().abs() / input_scale / BIAS_LIMIT
            # Grouped ConvTranspose: one weight channel serves the same channel of every group.
            needed = needed.view(-1, scale.numel()).amax(0) if scale.numel() > 1 else needed.amax().reshape(1)
            least = torch.maximum(least, needed)
        alive = factor > 0
        return torch.where(alive, torch.maximum(scale, least / torch.where(alive, factor, factor.new_ones(()))), scale)

    def _round(self: Any, factor: Tensor, scale: Tensor) -> Tensor:
        return RoundWeight.apply(
            self.weight.float(), self.weight_log_scale, factor, scale, weight_limit(self.bits), self._view(scale)
        )

    def _view(self: Any, scale: Tensor) -> Tuple[int, ...]:
        shape = [1] * self.weight.dim()
        shape[self.channel_axis] = scale.numel()
        return tuple(shape)

    def _rounded_bias(self: Any, folded: Folded, scale: Tensor) -> Optional[Tensor]:
        """The bias on its int32 grid at input scale times weight scale; gradients go straight through."""
        if folded.bias is None:
            return None
        step = self._bias_step(folded, scale)
        bias = folded.bias.float()
        return bias + ((bias.detach() / step).round() * step - bias.detach())

    def _bias_step(self: Any, folded: Folded, scale: Tensor) -> Tensor:
        step = self.quantizer.scale() * self._folded_scale(folded, scale)
        groups = folded.bias.numel() // step.numel() if step.numel() > 1 else 1
        return step.repeat(groups)

    def _folded_scale(self: Any, folded: Folded, scale: Tensor) -> Tensor:
        """What is exported: s·|f|, float32; of a channel that the normalization multiplies by 0, any that fits."""
        stretched = scale * folded.factor.detach().abs()
        return torch.where(stretched > 0, stretched, torch.ones_like(stretched))

    def _apply(self: Any, x: Tensor, weight: Tensor, bias: Optional[Tensor], *sizes: Any) -> Tensor:
        if isinstance(self, nn.Linear):
            return functional.linear(x, weight, bias)
        if not self.transposed_weight:
            return self._conv_forward(x, weight, bias)
        function = getattr(functional, f"conv_transpose{self.weight.dim() - 2}d")
        padding = self._padding_for(x, *sizes)
        return function(x, weight, bias, self.stride, self.padding, padding, self.groups, self.dilation)

    def _padding_for(self: Any, x: Tensor, output_size: Any = None) -> Any:
        if output_size is None:
            return self.output_padding
        from dopt.torch.transposed import output_padding

        return output_padding(self, x, output_size)

    @torch.no_grad()
    def numbers(self: Any) -> LayerNumbers:
        """The integers of the layer as the forward pass uses them."""
        folded = self.folded()
        scale = self.weight_scale(folded)
        view, limit = self._view(scale), weight_limit(self.bits)
        integers = integers_of(self.weight.float(), scale.view(view), limit) * torch.sign(folded.factor).view(view)
        bias = None
        if folded.bias is not None:
            bias = (folded.bias.float() / self._bias_step(folded, scale)).round().to(torch.int32).cpu().numpy()
        weight = self.weight.float() * folded.factor.view(view)
        return LayerNumbers(
            name=self.path,
            bits=self.bits,
            integers=integers.to(torch.int8).cpu().numpy(),
            scales=self._folded_scale(folded, scale).cpu().numpy(),
            axis=self.channel_axis,
            bias=bias,
            input_scale=float(self.quantizer.scale()),
            seen=(float(weight.min()), float(weight.max())),
        )

    @torch.no_grad()
    def begin_export(self: Any) -> None:
        """Lets the layer compute with its folded float weight and bias, under names that an exported graph keeps."""
        folded = self.folded()
        self._export_weight = nn.Parameter((self.weight * folded.factor.view(self._view(self.weight_scale0))).clone())
        self._export_bias = None if folded.bias is None else nn.Parameter(folded.bias.detach().clone())
        self.mode = "export"

    def end_export(self: Any) -> None:
        """Undoes ``begin_export``."""
        del self._export_weight, self._export_bias
        self.mode = "on"


class FoldedNorm:
    """A batch normalization that the layer before it computes: called, it hands values on."""

    def forward(self: Any, x: Tensor) -> Tensor:
        return x

    def normalize(self: Any, y: Tensor, training: bool) -> Tensor:
        """The normalization itself; ``training`` takes the batch's statistics and updates the running ones."""
        momentum = self.momentum
        if training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            momentum = 1.0 / float(self.num_batches_tracked) if momentum is None else momentum
        return functional.batch_norm(
            y, self.running_mean, self.running_var, self.weight, self.bias, training, momentum or 0.0, self.eps
        )

    def fold(self: Any, bias: Optional[Tensor]) -> Folded:
        """Factor and bias that make a layer compute the normalization with running statistics."""
        factor = torch.rsqrt(self.running_var + self.eps)
        if self.weight is not None:
            factor = factor * self.weight
        shift = (0 if bias is None else bias) - self.running_mean
        folded = shift * factor
        return Folded(factor, folded if self.bias is None else folded + self.bias)


LAYER_TYPES = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
NORM_TYPES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def quantize_layer(
    module: nn.Module, path: str, bits: int, per_channel: bool, quantizer: ActivationQuantizer, owns_quantizer: bool
) -> None:
    """Turns a module into its quantized form, in place."""
    kind = type(module)
    module.__class__ = type(f"Quantized{kind.__name__}", (QuantizedLayer, kind), {})
    module.begin(path, bits, per_channel, quantizer, owns_quantizer)


def can_fold(layer: nn.Module, norm: nn.Module, per_channel: bool) -> bool:
    """Whether a layer can take a batch normalization in: one scale a channel, running statistics, one group if transposed."""
    kept = getattr(norm, "running_mean", None) is not None
    grouped = isinstance(layer, nn.modules.conv._ConvTransposeNd) and layer.groups > 1
    return per_channel and kept and not grouped
