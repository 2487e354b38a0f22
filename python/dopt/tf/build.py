"""From a float Keras model and settings to a quantized one: captured, its layers copied, its quantizers placed.

Quantizers stand where the command line's plan puts them for Kirin targets: at the inputs of layers and products, one a
tensor; sums, concatenations and functions in between read values before rounding (docs/decisions/001).
"""

from typing import Any, Dict, List, Optional, Tuple

import tensorflow as tf

from dopt.errors import DoptError
from dopt.plugin.blocks import block_ends
from dopt.plugin.choice import choose
from dopt.plugin.config import PluginConfig
from dopt.plugin.refusals import quantized_already
from dopt.plugin.strategies import Grid, Scheme
from dopt.tf.capture import Call, Captured, Value, capture
from dopt.tf.layers import FoldedNorm, Rounded, folded_norm, quantized_layer
from dopt.tf.network import Plan, Product, QuantizedModel, layers_in
from dopt.tf.quantizer import ActivationQuantizer
from dopt.tf.structure import Layer, fixed_range, layers_of, left_float, output_kind

keras = tf.keras.layers


def check_float(model: Any) -> None:
    """Raises DoptError for what is no float Keras model: quantized already, something else, or one of another tf.distribute."""
    if isinstance(model, QuantizedModel):
        raise quantized_already(model.name)
    if not isinstance(model, tf.keras.Model):
        raise DoptError(
            "PLUGIN_MODEL",
            f"A tf.keras.Model is wanted, not {type(model).__name__}.",
            found=type(model).__name__,
            suggestions=["Graphs of sessions go through dopt.dopt_tf.opt_main."],
        )
    strategy = model.distribute_strategy
    if strategy is not tf.distribute.get_strategy():
        name = type(strategy).__name__
        raise DoptError(
            "PLUGIN_STRATEGY",
            f"{model.name} was built in the scope of a {name}, and is to be quantized outside of it.",
            found=f"a model of a {name}",
            suggestions=["Call prepare() and calibrate() within strategy.scope(), too: with strategy.scope(): ..."],
        )


def build(model: Any, config: PluginConfig, method: str = "lsq", warm_up: Optional[int] = None) -> QuantizedModel:
    """The quantized model; the float one stays as it is. Raises DoptError for settings that do not fit it."""
    check_float(model)
    captured = capture(model, config.inputs)
    layers = layers_of(captured)
    choice = choose(config, [layer.name for layer in layers], method)
    plan = Plan(config, method, choice.widths, choice.target)
    plan.float_layers = left_float(captured) + choice.float_layers
    names = [name for name, _, _ in captured.inputs]
    shapes = [config.inputs[name] for name in names] if set(names) == set(config.inputs) else list(config.inputs.values())
    plan.inputs = [(name, shape, dtype) for (name, _, dtype), shape in zip(captured.inputs, shapes)]
    plan.outputs = [output_kind(value) for value in tf.nest.flatten(captured.results)]
    chosen = [(layer, choice.schemes[layer.name.path]) for layer in layers if layer.name.path in choice.schemes]
    plan.ends = frozenset(block_ends([layer.name.path for layer, _ in chosen if layer.layer is not None]))
    quantized = _Rebuild(captured, plan).model(chosen, model.name)
    plan.float_copy = lambda: _Rebuild(captured, plan.of_float_copy()).model(chosen, f"{model.name}_float")
    for layer in layers_in(quantized):
        layer.calibrate()
        layer.warm_up = layer.warm_up if warm_up is None else warm_up
    plan.mode = "on"
    return quantized


class _Rebuild:
    """Calls the program again with layers of its own."""

    def __init__(self, captured: Captured, plan: Plan) -> None:
        self.captured, self.plan = captured, plan
        self.quantizers: Dict[Tuple[int, Grid], ActivationQuantizer] = {}
        self.rounded: Dict[Tuple[int, Grid], Any] = {}
        self.owned: Dict[int, str] = {}
        self.copies: Dict[int, Any] = {}
        self.readers: Dict[int, List[Call]] = {}
        for call in captured.calls:
            for value in call.inputs:
                self.readers.setdefault(id(value), []).append(call)
        self.schemes: Dict[int, Tuple[Layer, Scheme]] = {}

    def model(self, chosen: List[Tuple[Layer, Scheme]], name: str) -> QuantizedModel:
        """Decides on quantizers for all layers first, since one may serve several tensors; then builds."""
        for layer, scheme in chosen:
            self._place(layer, scheme)
        tensors: Dict[int, Any] = {}
        inputs = []
        for value, (title, shape, dtype) in zip(self.captured.values, self.captured.inputs):
            tensors[id(value)] = tf.keras.Input(shape[1:], shape[0], name=title, dtype=dtype)
            inputs.append(tensors[id(value)])
        copied: List[Tuple[Any, Any]] = []
        for call in self.captured.calls:
            args, kwargs = tf.nest.map_structure(
                lambda each: tensors[id(each)] if isinstance(each, Value) else each, (call.args, call.kwargs)
            )
            outputs = self._call(call, args, kwargs, tensors, copied)
            tensors.update((id(value), tensor) for value, tensor in zip(call.results, tf.nest.flatten(outputs)))
        for ours, theirs in copied:
            _copy_weights(ours, theirs)
        results = tf.nest.map_structure(lambda value: tensors[id(value)], self.captured.results)
        made = QuantizedModel(inputs[0] if len(inputs) == 1 else inputs, results, name=name)
        made.dopt_plan = self.plan
        return made

    def _place(self, layer: Layer, scheme: Scheme) -> None:
        """Quantizers of what a layer or product reads."""
        product = layer.layer is None
        for call in layer.calls:
            self.schemes[id(call)] = (layer, scheme)
            for at, value in enumerate(call.inputs[: 2 if product else 1]):
                reader = f"{layer.name.path}.{at}" if product else layer.name.path
                key = (id(value), scheme.activation)
                if key not in self.quantizers:
                    fixed = fixed_range(value)
                    self.quantizers[key] = ActivationQuantizer(reader, scheme.activation, self.plan.method, fixed)
        if not product and len(layer.calls) > 1:
            # Called several times, a layer still has one bias, at one input scale times the weight's.
            keys = [(id(call.inputs[0]), scheme.activation) for call in layer.calls]
            kept, others = self.quantizers[keys[0]], {id(self.quantizers[key]) for key in keys}
            kept.fixed = None if len(others) > 1 else kept.fixed
            self.quantizers.update((key, kept) for key, each in self.quantizers.items() if id(each) in others)
        if product:
            self.plan.products.append(layer.name.path)

    def _call(self, call: Call, args: Any, kwargs: Any, tensors: Dict[int, Any], copied: List[Tuple[Any, Any]]) -> Any:
        layer, scheme = self.schemes.get(id(call), (None, None))
        if layer is None or scheme is None:
            return self._copy(call, copied)(*args, **kwargs)
        if layer.layer is None:
            rounded = [self._read(value, scheme, tensors) for value in call.inputs]
            transposed = {key: value for key, value in kwargs.items() if key != "name"}
            return Product(self.plan, name=call.path)(rounded, **transposed)
        x = self._read(call.inputs[0], scheme, tensors)
        return self._quantized(layer, scheme, call, copied)(x)

    def _read(self, value: Value, scheme: Scheme, tensors: Dict[int, Any]) -> Any:
        key = (id(value), scheme.activation)
        if key not in self.rounded:
            quantizer = self.quantizers[key]
            owns = id(quantizer) not in self.owned
            count = len(self.rounded)
            self.owned.setdefault(id(quantizer), quantizer.name)
            place = Rounded(quantizer, self.plan, owns, name=f"{quantizer.name}/input_{count}")
            place.source = next((at for at, each in enumerate(self.captured.values) if each is value), None)
            self.rounded[key] = place(tensors[id(value)])
        return self.rounded[key]

    def _quantized(self, layer: Layer, scheme: Scheme, call: Call, copied: List[Tuple[Any, Any]]) -> Any:
        if id(layer.layer) in self.copies:
            return self.copies[id(layer.layer)]
        path = layer.name.path
        # Chips before Kirin 9020 have one weight scale for a fully connected layer.
        per_channel = layer.name.op_type != "Dense" or self.plan.config.params_version == "v2"
        quantizer = self.quantizers[(id(call.inputs[0]), scheme.activation)]
        made = quantized_layer(layer.layer, path, scheme.weight.bits, per_channel, quantizer, self.plan)
        norm = self._norm_behind(layer) if per_channel else None
        if norm is not None:
            twin = folded_norm(norm.layer, norm.path)
            spec = norm.layer.input_spec
            twin.build([(spec.axes or {}).get(axis) for axis in range(spec.ndim)])
            self.copies[id(norm.layer)] = twin
            copied.append((twin, norm.layer))
            made.adopt(twin)
        self.copies[id(layer.layer)] = made
        copied.append((made, layer.layer))
        return made

    def _norm_behind(self, layer: Layer) -> Optional[Call]:
        """The batch normalization over channels that alone reads the result of a layer; both are called once."""
        call = layer.calls[0]
        readers = self.readers.get(id(call.results[0]), [])
        linear = getattr(layer.layer, "activation", None) in (None, tf.keras.activations.linear)
        kept = call.results[0] not in tf.nest.flatten(self.captured.results)
        if len(layer.calls) != 1 or len(readers) != 1 or not linear or not kept:
            return None
        norm = readers[0]
        plain = type(norm.layer).call is keras.BatchNormalization().call.__func__ and type(norm.layer).__name__ == "BatchNormalization"
        once = sum(each.layer is norm.layer for each in self.captured.calls) == 1
        if not plain or not once or norm.kwargs.get("training"):
            return None
        (axis,) = norm.layer.axis
        first = getattr(layer.layer, "data_format", "channels_last") == "channels_first"
        return norm if axis == (1 if first else norm.layer.input_spec.ndim - 1) else None

    def _copy(self, call: Call, copied: List[Tuple[Any, Any]]) -> Any:
        layer = call.layer
        if id(layer) not in self.copies:
            twin = _twin(layer, call.path)
            self.copies[id(layer)] = twin
            if twin is not layer:
                copied.append((twin, layer))
        return self.copies[id(layer)]


def _twin(layer: Any, path: str) -> Any:
    """A layer of the same settings under its name in the whole model; the layer itself where it tells no settings."""
    if hasattr(layer, "symbol") and hasattr(layer, "function"):
        return type(layer)(layer.function, name=path)
    try:
        # Integers stand for float32: mixed precision is left out, in all of the copy.
        mixed = layer.dtype_policy.compute_dtype != layer.dtype_policy.variable_dtype
        return type(layer).from_config({**layer.get_config(), "name": path, **({"dtype": "float32"} if mixed else {})})
    except Exception:  # noqa: BLE001 - layers of the user's raise many types, NotImplementedError first.
        return layer


def _copy_weights(ours: Any, theirs: Any) -> None:
    if isinstance(ours, FoldedNorm) or not hasattr(ours, "path"):
        ours.set_weights(theirs.get_weights())
        return
    ours.weight.assign(getattr(theirs, ours.kernel_name))
    if ours.bias is not None:
        ours.bias.assign(theirs.bias)
