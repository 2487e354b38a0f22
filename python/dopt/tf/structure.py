"""What can be quantized in a captured model: its layers, its products of activations, and what stays float."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import tensorflow as tf

from dopt.plugin.config import LayerName
from dopt.plugin.numbers import FloatLayer
from dopt.tf.capture import Call, Captured, Value
from dopt.tf.layers import base_of

keras = tf.keras.layers

#: Functions that multiply with weights or activations and are not quantized, by what Keras calls them.
_UNQUANTIZED = {"einsum", "linalg.tensordot", "tensordot", "linalg.matvec", "linalg.einsum"}
_UNQUANTIZED |= {f"nn.conv{n}d" for n in (1, 2, 3)} | {f"nn.conv{n}d_transpose" for n in (1, 2, 3)}
_UNQUANTIZED |= {"nn.depthwise_conv2d", "nn.separable_conv2d", "nn.convolution"}
#: Bounds that a function itself sets to its results.
_RANGES = {
    **{name: (0.0, 1.0) for name in ("softmax", "sigmoid", "hard_sigmoid", "nn.softmax", "math.sigmoid", "nn.sigmoid")},
    **{name: (-1.0, 1.0) for name in ("tanh", "math.tanh", "nn.tanh")},
}


class Layer(NamedTuple):
    """A layer or product. ``calls``: where the program calls it; ``layer`` is None for a product."""

    name: LayerName
    layer: Any
    calls: List[Call]


def layers_of(captured: Captured) -> List[Layer]:
    """Everything that can be quantized, in the order of the program."""
    found: Dict[Any, Layer] = {}
    for call in captured.calls:
        base = base_of(call.layer)
        if base is not None and isinstance(_first(call), Value):
            kind = base.__name__
            known = found.setdefault(id(call.layer), Layer(LayerName(call.path, kind, kind), call.layer, []))
            known.calls.append(call)
        elif is_product(call):
            found[id(call)] = Layer(LayerName(call.path, "MatMul", "MatMul"), None, [call])
    return list(found.values())


def left_float(captured: Captured) -> List[FloatLayer]:
    """What multiplies with weights and is not quantized, by name, with the reason; and what could not be captured."""
    left = {}
    for call in captured.calls:
        layer, path = call.layer, call.path
        if path in captured.opaque:
            reason = f"its program cannot be captured ({captured.opaque[path]}), and it stays as it is"
        elif base_of(layer) is not None or is_product(call):
            continue
        elif symbol_of(layer) in _UNQUANTIZED or (symbol_of(layer) or "").endswith("matmul"):
            reason = "no quantized form of this function"
        elif _has_kernel(layer):
            reason = "no quantized form of this layer"
        else:
            continue
        left[path] = FloatLayer(path, symbol_of(layer) or type(layer).__name__, reason)
    return list(left.values())


def is_product(call: Call) -> bool:
    """A product of two activations."""
    both = len(call.args) == 2 and all(isinstance(each, Value) for each in call.args)
    plain = set(call.kwargs) <= {"transpose_a", "transpose_b", "name"}
    return (symbol_of(call.layer) or "").endswith("linalg.matmul") and both and plain


def symbol_of(layer: Any) -> Optional[str]:
    """What a function of TensorFlow is called that Keras made a layer of; None for layers."""
    symbol = getattr(layer, "symbol", None)
    return symbol.replace("_tf_keras.", "") if isinstance(symbol, str) else None


def fixed_range(value: Value) -> Optional[Tuple[float, float]]:
    """The range that the producer of a tensor sets, or None."""
    return _RANGES.get(_function_behind(value))


def output_kind(value: Value) -> str:
    """What a result of the model is: ``probabilities`` of a softmax, ``bounded`` by another function, or ``free``."""
    name = _function_behind(value)
    if name.endswith("softmax"):
        return "probabilities"
    return "bounded" if name in _RANGES else "free"


def _function_behind(value: Value) -> str:
    """What the function is called that a tensor comes from, an activation of a layer too; empty where it has no name."""
    if value.producer is None:
        return ""
    layer = value.producer.layer
    if isinstance(layer, keras.Softmax):
        return "softmax"
    activation = getattr(layer, "activation", None)
    name = getattr(activation, "__name__", "") if callable(activation) else symbol_of(layer)
    return name or ""


def _first(call: Call) -> Any:
    return call.args[0] if call.args else call.kwargs.get("inputs")


def _has_kernel(layer: Any) -> bool:
    shared = isinstance(layer, (keras.Embedding, keras.BatchNormalization, keras.LayerNormalization))
    return not shared and any(len(weight.shape) >= 2 for weight in layer.weights)
