"""The strategies of the original by name, and what each makes of a layer."""

from typing import NamedTuple, Optional


class Grid(NamedTuple):
    """Integers that stand for real numbers: real = scale · (integer − zero point), within ``low``..``high``."""

    bits: int
    signed: bool
    symmetric: bool

    @property
    def low(self) -> int:
        """Smallest integer; of a weight 1 more than the type has, so that negation stays on the grid."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest integer."""
        return self.low + (1 << self.bits) - 1


#: Weights are symmetric and leave the smallest integer unused: −127..127, −7..7.
WEIGHT_8 = Grid(8, True, True)
WEIGHT_4 = Grid(4, True, True)


def weight_limit(bits: int) -> int:
    """Largest |integer| of a weight."""
    return (1 << (bits - 1)) - 1


class Scheme(NamedTuple):
    """Grids of a layer's inputs and weight."""

    name: str
    activation: Grid
    weight: Grid

    @property
    def widths(self) -> str:
        """As in quant_params.json: int8-8."""
        return f"int{self.activation.bits}-{self.weight.bits}"


_UINT8 = Grid(8, False, False)
_INT16 = Grid(16, True, True)

SCHEMES = {
    "Quant_INT8-8": Scheme("Quant_INT8-8", _UINT8, WEIGHT_8),
    "Quant_INT16-8": Scheme("Quant_INT16-8", _INT16, WEIGHT_8),
    "Quant_INT8-4": Scheme("Quant_INT8-4", _UINT8, WEIGHT_4),
}
FLOAT = "float"
#: How ranges follow training: learned scales, learned clips, or a running mean of the extremes.
METHODS = ("lsq", "pact", "ema")
#: Weight of a new batch in the running mean of the extremes.
EMA_RATE = 0.01
#: Steps of training in which batch normalization follows the batches; then its statistics are frozen and folded.
WARM_UP = 50
DEFAULT_STRATEGY = "Quant_INT8-8"


def scheme_of(strategy: str) -> Optional[Scheme]:
    """None for ``float``."""
    return SCHEMES.get(strategy)


def rule_of(grid: Grid, method: str, fixed: bool, trained: bool) -> str:
    """How the range of an activation came about, for quant_params.json."""
    if fixed or trained:
        return "fixed" if fixed else "trained"
    return "running mean of the extremes" if method == "ema" else "mse" if grid.bits == 8 else "minmax with headroom"
