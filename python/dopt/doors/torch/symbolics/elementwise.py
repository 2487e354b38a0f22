"""Functions of each number by itself."""

import math
from typing import Any, Callable, Optional, Tuple

import torch

from dopt.doors.torch.symbolics.algebra import Tensor
from dopt.doors.torch.symbolics.registry import Original, symbolic



def _as_in_onnx(operator: str) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor) -> Tensor:
        return x.as_float().op(operator)

    return function


for _operator in ("Sinh", "Cosh", "Asinh", "Acosh", "Atanh"):
    symbolic(_operator.lower())(_as_in_onnx(_operator))


@symbolic("maximum")
def maximum(a: Tensor, b: Tensor) -> Tensor:
    return a.maximum(b)


@symbolic("minimum")
def minimum(a: Tensor, b: Tensor) -> Tensor:
    return a.minimum(b)


@symbolic("fmax")
def fmax(a: Tensor, b: Tensor) -> Tensor:
    return a.isnan().where(b, b.isnan().where(a, a.maximum(b)))


@symbolic("fmin")
def fmin(a: Tensor, b: Tensor) -> Tensor:
    return a.isnan().where(b, b.isnan().where(a, a.minimum(b)))


@symbolic("lerp")
def lerp(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    return start + (end - start) * weight


@symbolic("addcmul")
def addcmul(x: Tensor, a: Tensor, b: Tensor, value: Tensor) -> Tensor:
    return x + a * b * value


@symbolic("addcdiv")
def addcdiv(x: Tensor, a: Tensor, b: Tensor, value: Tensor) -> Tensor:
    return x + a / b * value


@symbolic("logaddexp")
def logaddexp(a: Tensor, b: Tensor) -> Tensor:
    spread = -(a - b).op("Abs")
    return a.maximum(b) + (spread.op("Exp") + 1.0).op("Log")


@symbolic("xlogy", "special_xlogy")
def xlogy(x: Tensor, y: Tensor) -> Tensor:
    return x.equals(0).where(0.0, x.as_float() * y.as_float().op("Log"))


@symbolic("hypot")
def hypot(a: Tensor, b: Tensor) -> Tensor:
    return (a * a + b * b).op("Sqrt")


@symbolic("atan2")
def atan2(y: Tensor, x: Tensor) -> Tensor:
    y, x = y.as_float(), x.as_float()
    turned = (x < 0).where((y < 0).where(y * 0.0 - math.pi, math.pi), 0.0)
    at_origin = x.equals(0) & y.equals(0)
    return at_origin.where(0.0, (y / x).op("Atan") + turned)


@symbolic("copysign")
def copysign(x: Tensor, sign: Tensor) -> Tensor:
    size = x.as_float().op("Abs")
    return (sign < 0).where(-size, size)


@symbolic("heaviside")
def heaviside(x: Tensor, at_zero: Tensor) -> Tensor:
    return x.equals(0).where(at_zero, (x > 0).to(x.kind))


@symbolic("signbit")
def signbit(x: Tensor) -> Tensor:
    return x < 0


@symbolic("expm1", "special_expm1")
def expm1(x: Tensor) -> Tensor:
    return x.as_float().op("Exp") - 1.0


@symbolic("exp2", "special_exp2")
def exp2(x: Tensor) -> Tensor:
    return (x.as_float() * math.log(2.0)).op("Exp")


@symbolic("erfc", "special_erfc")
def erfc(x: Tensor) -> Tensor:
    return 1.0 - x.as_float().op("Erf")


@symbolic("special_erf")
def special_erf(x: Tensor) -> Tensor:
    return x.as_float().op("Erf")


@symbolic("special_expit")
def special_expit(x: Tensor) -> Tensor:
    return x.as_float().op("Sigmoid")


@symbolic("logit", "special_logit")
def logit(x: Tensor, eps: Optional[float] = None) -> Tensor:
    x = x.as_float()
    if eps is not None:
        x = x.maximum(eps).minimum(1.0 - eps)
    return (x / (1.0 - x)).op("Log")


@symbolic("sinc", "special_sinc")
def sinc(x: Tensor) -> Tensor:
    turned = x.as_float() * math.pi
    return turned.equals(0).where(1.0, turned.op("Sin") / turned)


@symbolic("trunc", "fix")
def trunc(x: Tensor) -> Tensor:
    return x if not x.is_float else x.op("Abs").op("Floor") * x.op("Sign")


@symbolic("frac")
def frac(x: Tensor) -> Tensor:
    return x - trunc(x)


@symbolic("sgn")
def sgn(x: Tensor) -> Tensor:
    return x.op("Sign")


@symbolic("positive")
def positive(x: Tensor) -> Tensor:
    return x


@symbolic("deg2rad")
def deg2rad(x: Tensor) -> Tensor:
    return x.as_float() * (math.pi / 180.0)


@symbolic("rad2deg")
def rad2deg(x: Tensor) -> Tensor:
    return x.as_float() * (180.0 / math.pi)


@symbolic("float_power")
def float_power(x: Tensor, exponent: Tensor) -> Tensor:
    return x.to("Double") ** exponent.to("Double")


@symbolic("nan_to_num")
def nan_to_num(x: Tensor, nan: Optional[float], posinf: Optional[float], neginf: Optional[float]) -> Tensor:
    if not x.is_float:
        return x
    most = {"Half": 65504.0, "Float": 3.4028234663852886e38, "Double": 1.7976931348623157e308}[x.kind]
    x = x.isnan().where(nan or 0.0, x)
    for sign, instead in ((1, posinf), (-1, neginf)):
        infinite = x.equals(sign * math.inf)
        x = infinite.where(sign * most if instead is None else instead, x)
    return x


@symbolic("logical_not")
def logical_not(x: Tensor) -> Tensor:
    return ~x


@symbolic("isclose")
def isclose(a: Tensor, b: Tensor, rtol: float, atol: float, _equal_nan: Any) -> Tensor:
    return (a - b).op("Abs") <= b.op("Abs") * rtol + atol


@symbolic("threshold", replaces=True)
def threshold(x: Tensor, limit: float, value: float, original: Original) -> Any:
    """torch knows threshold(x, 0, 0) alone."""
    return original() if limit == 0 and value == 0 else (x > limit).where(x, value)


@symbolic("rrelu", replaces=True)
def rrelu(x: Tensor, lower: float, upper: float, training: bool, _generator: Any, original: Original) -> Any:
    """Outside training the slope is the middle of its range; torch writes a random one always."""
    return original() if training else x.op("LeakyRelu", alpha_f=(lower + upper) / 2)


@symbolic("floor_divide", replaces=True)
def floor_divide(a: Tensor, b: Tensor, original: Original) -> Any:
    """Since PyTorch 1.13 it rounds down, and still is written as one that rounds towards zero."""
    if not (a.is_float or b.is_float) or _version() < (1, 13):
        return original()
    return (a / b).op("Floor")


def _version() -> Tuple[int, ...]:
    return tuple(int(each) for each in torch.__version__.split(".")[:2])
