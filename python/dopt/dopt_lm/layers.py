"""Linear layers and embeddings that compute on integer grids, with low-rank adapters where they are asked for."""

from typing import Any, List, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dopt.dopt_lm.quantizers import input_grid, round_input, round_weight, weight_scales
from dopt.dopt_lm.settings import LayerSettings
from dopt.errors import DoptError

#: Weight of what was seen before in a running mean of extremes.
EMA = 0.9


class _Quantized:
    """States of a quantized layer, and its scales; part of the classes below."""

    settings: LayerSettings
    weight: Any
    weight_scale: Any
    weight_state = True
    input_state = True
    calibrating = False

    def _begin(self, settings: LayerSettings) -> None:
        self.settings = settings
        scales = weight_scales(self.weight, settings.bits, settings.group_size, settings.clips)
        if settings.learns:
            self.weight_scale = nn.Parameter(scales)
        else:
            self.register_buffer("weight_scale", scales)  # type: ignore[attr-defined]

    def refresh_scales(self) -> None:
        """Scales for the weight as it now is."""
        settings = self.settings
        self.weight_scale.data.copy_(weight_scales(self.weight, settings.bits, settings.group_size, settings.clips))


class QuantLinear(_Quantized, nn.Linear):
    """A linear layer whose weight and input are rounded to their grids. Takes the weight of ``layer`` over."""

    def __init__(self, name: str, layer: nn.Linear, settings: LayerSettings) -> None:
        nn.Module.__init__(self)
        self.name = name
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self._begin(settings)
        if settings.input_bits is not None:
            scale = torch.zeros(())
            if settings.input_rule == "omni_min_max":
                self.input_scale = nn.Parameter(scale)
            else:
                self.register_buffer("input_scale", scale)
            self.register_buffer("input_zero_point", torch.zeros((), dtype=torch.int32))
            self.register_buffer("_seen", torch.tensor([float("inf"), float("-inf")]), persistent=False)
        self.lora_A: Optional[nn.Parameter] = None
        self.lora_B: Optional[nn.Parameter] = None
        if settings.lora is not None:
            rank = settings.lora.get("rank", 32)
            self.lora_A = nn.Parameter(torch.zeros(rank, self.in_features))
            self.lora_B = nn.Parameter(torch.zeros(self.out_features, rank))

    @property
    def lora_scaling(self) -> float:
        """What the adapter's product is multiplied with."""
        lora = self.settings.lora or {}
        return lora.get("alpha", 32) / lora.get("rank", 32)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if self.weight_state and not self.calibrating:
            weight = round_weight(weight, self.weight_scale, self.settings.bits)
        y = F.linear(self._input(x), weight, self.bias)
        if self.lora_A is None or self.lora_B is None:
            return y
        down, up = self.lora_A.to(x.dtype), self.lora_B.to(x.dtype)
        if (self.settings.lora or {}).get("quant_state"):
            down, up = (round_weight(each, weight_scales(each, 8, 0, False), 8) for each in (down, up))
        return y + F.linear(F.linear(x, down), up) * self.lora_scaling

    def end_calibration(self) -> None:
        """Takes the grid of the input from what was seen."""
        settings = self.settings
        if settings.input_bits is None or not bool(torch.isfinite(self._seen).all()):
            return
        low, high = self._seen.tolist()
        scale, zero = input_grid(low, high, settings.input_bits, settings.input_symmetric)
        self.input_scale.data.fill_(scale)
        self.input_zero_point.fill_(zero)

    def _input(self, x: Tensor) -> Tensor:
        settings = self.settings
        if settings.input_bits is None:
            return x
        if self.calibrating:
            self._observe(x.detach())
            return x
        if not self.input_state:
            return x
        if not bool(self.input_scale > 0):
            raise DoptError(
                "LLM_NOT_CALIBRATED",
                f"The input of {self.name} has no range yet.",
                place=self.name,
                suggestions=["Run data between set_calibrate_state(model, True) and set_calibrate_state(model, False)."],
            )
        return round_input(x, self.input_scale, self.input_zero_point, settings.input_bits, settings.input_symmetric)

    def _observe(self, x: Tensor) -> None:
        if x.numel() == 0:
            return
        now = torch.stack([x.min(), x.max()]).to(self._seen)
        if not bool(torch.isfinite(now).all()):
            raise DoptError(
                "LLM_NOT_FINITE",
                f"The input of {self.name} is not finite while it is calibrated.",
                place=self.name,
                suggestions=["Run the float model on the same data: it fails there too, often for float16."],
            )
        if self.settings.input_rule == "ema" and bool(torch.isfinite(self._seen).all()):
            self._seen.mul_(EMA).add_(now, alpha=1 - EMA)
        else:
            self._seen[0] = torch.minimum(self._seen[0], now[0])
            self._seen[1] = torch.maximum(self._seen[1], now[1])

    def _load_from_state_dict(self, state: Any, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state, prefix, *args)
        # A checkpoint of the base has no adapters; they stay as they are.
        missing: List[str] = args[2]
        for key in (f"{prefix}lora_A", f"{prefix}lora_B"):
            if key in missing:
                missing.remove(key)


class QuantEmbedding(_Quantized, nn.Embedding):
    """An embedding with a scale a row. Takes the weight of ``layer`` over."""

    def __init__(self, name: str, layer: nn.Embedding, settings: LayerSettings) -> None:
        nn.Module.__init__(self)
        self.name = name
        for key in ("num_embeddings", "embedding_dim", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse"):
            setattr(self, key, getattr(layer, key))
        self.weight = layer.weight
        self._begin(settings)

    def forward(self, ids: Tensor) -> Tensor:
        rows = F.embedding(ids, self.weight, self.padding_idx)
        if not self.weight_state or self.calibrating:
            return rows
        flat = rows.reshape(-1, self.embedding_dim)
        scales = F.embedding(ids, self.weight_scale).reshape(-1, 1)
        return round_weight(flat, scales, self.settings.bits).reshape(rows.shape)
