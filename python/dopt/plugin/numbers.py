"""What training leaves behind of one layer or tensor: the integers and scales that are written, whatever the framework."""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple, Union

import numpy as np

from dopt.plugin.strategies import Grid


class Quantizer(NamedTuple):
    """Parameters of a quantized activation. ``seen``: smallest and largest value of calibration, None where unknown."""

    name: str
    grid: Grid
    scale: float
    zero_point: int
    seen: Optional[Tuple[float, float]]
    rule: str


class LayerNumbers(NamedTuple):
    """Integers of a layer with weights, its batch normalization folded in.

    ``integers`` int8, with the output channels along ``axis``; ``scales`` float32, one for each of them or one;
    ``bias`` int32 [channels] at input scale times weight scale, or None.
    """

    name: str
    bits: int
    integers: Any
    scales: Any
    axis: int
    bias: Optional[Any]
    input_scale: float
    #: Smallest and largest weight before rounding.
    seen: Tuple[float, float]

    def bias_scales(self) -> Any:
        """Input scale times weight scale, float32: one, or one for each bias (a grouped ConvTranspose shares them)."""
        products = np.float32(self.input_scale) * np.asarray(self.scales, np.float32)
        return products if len(products) == 1 else np.tile(products, len(self.bias) // len(products))


class Reading(NamedTuple):
    """An operator's input that reads the rounded value of what it reads now."""

    node: str
    index: int
    quantizer: str


class FloatLayer(NamedTuple):
    """A layer, or a part of the program, that stays float, and why."""

    name: str
    op_type: str
    reason: str


def layers_by_name(
    widths: Iterable[Tuple[str, int, int]], products: Iterable[str], float_layers: Iterable[FloatLayer]
) -> Dict[str, Union[str, FloatLayer]]:
    """What became of every layer: ``int8-4``, ``product``, or a FloatLayer. ``widths``: path, bits of input and weight."""
    found: Dict[str, Union[str, FloatLayer]] = {path: f"int{inputs}-{weight}" for path, inputs, weight in widths}
    found.update({name: "product" for name in products})
    found.update({layer.name: layer for layer in float_layers})
    return found


class Network(NamedTuple):
    """All of a network for the writers. ``layers`` by the name of their operator in the ONNX graph."""

    name: str
    quantizers: List[Quantizer]
    readings: List[Reading]
    layers: List[LayerNumbers]
    float_layers: List[FloatLayer]
    #: int8-8, int16-8, int8-4: widths of most layers.
    widths: str
    #: Name of the target whose placement was used.
    target: str
