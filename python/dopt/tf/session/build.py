"""Quantizers in a session's graph: what layers read is rounded, and so are weights and biases.

Placement is that of dopt/tf/build.py. A batch normalization behind a layer stays an operator while the network trains: with
statistics that stand still it is the folded layer but for the rounding of the bias, which its offset takes up.
"""

from typing import Any, Dict, List, Tuple

import numpy as np
import tensorflow as tf

from dopt.errors import DoptError
from dopt.plugin.choice import choose
from dopt.plugin.config import PluginConfig
from dopt.plugin.refusals import quantized_already
from dopt.plugin.strategies import Grid, Scheme
from dopt.tf.quantizer import ActivationQuantizer
from dopt.tf.session.graph import Layer, fixed_range, layers_of, left_float
from dopt.tf.session.network import Plan, QuantizedOperator, RoundedTensor, checked, initialized, renewed
from dopt.tf.weights import Folded, WeightGrid


def build(sess: Any, config: PluginConfig, is_train_flag: Any, quant_flag: Any) -> Plan:
    """Quantizes the graph of a session in place. Raises DoptError for settings that do not fit it, and PLUGIN_QUANTIZED."""
    graph = check_float(sess)
    layers = layers_of(graph)
    choice = choose(config, [layer.name for layer in layers], "lsq")
    floats = left_float(graph, layers) + choice.float_layers
    plan = Plan(config, choice.widths, choice.target, floats, graph.as_graph_def())
    values = initialized(sess)
    with graph.as_default(), tf.compat.v1.variable_scope("dopt", reuse=tf.compat.v1.AUTO_REUSE):
        placing = _Placement(plan, is_train_flag, quant_flag)
        for layer in layers:
            if layer.name.path in choice.schemes:
                placing.place(layer, choice.schemes[layer.name.path])
    placing.connect()
    graph._dopt_plan = plan  # noqa: SLF001 - a place for it that goes where the graph goes.
    renewed(sess, values, plan.variables)
    return plan


def check_float(sess: Any) -> Any:
    """The graph of a session. Raises DoptError PLUGIN_SESSION, PLUGIN_QUANTIZED."""
    graph = checked(sess).graph
    if getattr(graph, "_dopt_plan", None) is not None:
        raise quantized_already("The graph of this session")
    if graph.finalized:
        raise DoptError(
            "PLUGIN_SESSION",
            "The graph of this session is finalized and cannot be changed.",
            suggestions=["Call optimize_model() before a MonitoredSession or Supervisor is made of the graph."],
        )
    return graph


class _Placement:
    def __init__(self, plan: Plan, is_train_flag: Any, quant_flag: Any) -> None:
        self.plan = plan
        self.rounded: Dict[Tuple[str, Grid], RoundedTensor] = {}
        #: Inputs of operators that read something else when all is placed.
        self.reads: List[Tuple[Any, int, Any]] = []
        plan.calibrating = self._make("calibrating", False, [tf.compat.v1.GraphKeys.LOCAL_VARIABLES])
        self.calibrating = tf.convert_to_tensor(plan.calibrating)
        self.on = tf.logical_and(tf.cast(quant_flag, tf.int32) > 0, tf.logical_not(self.calibrating))
        self.trains = tf.logical_and(tf.cast(is_train_flag, tf.bool), self.on)

    def connect(self) -> None:
        """Lets the operators read what was placed for them."""
        for operator, index, tensor in self.reads:
            operator._update_input(index, tensor)  # noqa: SLF001 - TensorFlow has no public way.

    def place(self, layer: Layer, scheme: Scheme) -> None:
        """Quantizers of what a layer reads, of its weight and of its bias."""
        product = layer.weight is None
        path = layer.name.path
        inputs = []
        for at, index in enumerate(layer.inputs):
            reader = f"{path}.{at}" if product else path
            inputs.append(self._read(layer.operator.inputs[index], scheme.activation, reader))
            self.reads.append((layer.operator, index, inputs[-1].read))
        if product:
            self.plan.operators.append(QuantizedOperator(layer, inputs, None, None, None))
            return
        weight = layer.operator.inputs[layer.weight]
        # Chips before Kirin 9020 have one weight scale for a fully connected layer.
        per_channel = layer.name.op_type != "MatMul" or self.plan.config.params_version == "v2"
        grid = WeightGrid(layer.kind, tuple(weight.shape.as_list()), scheme.weight.bits, per_channel)
        with tf.compat.v1.variable_scope(path):
            grid.make_variables(lambda name, value, trains: self._make(name, value, None, trains))
        folded = _folded(layer, grid) if per_channel else _folded(layer._replace(norm=None), grid)
        quantizer = inputs[0].quantizer
        unknown = tf.logical_and(self.on, tf.reduce_min(tf.convert_to_tensor(grid.scale0)) <= 0)
        found = self._start_weight(grid, weight, unknown)
        with tf.control_dependencies([found, inputs[0].own]):
            now = grid.now(folded, quantizer.scale())
            on = tf.logical_and(self.on, quantizer.known())
            rounded = grid.round(weight, grid.identity(), now.scale, on, self.trains)
            bias = grid.round_bias(folded, now, on)
        self.reads.append((layer.operator, layer.weight, rounded))
        norm = layer.norm if per_channel else None
        if norm is not None:
            self.reads.append((norm, 2, norm.inputs[2] + tf.stop_gradient(bias - folded.bias)))
        elif layer.bias is not None:
            self.reads.append((*layer.bias, bias))
        self.plan.operators.append(QuantizedOperator(layer, inputs, grid, weight, folded))

    def _start_weight(self, grid: WeightGrid, weight: Any, unknown: Any) -> Any:
        def start() -> Any:
            with tf.control_dependencies([grid.scale0.assign(grid.started(weight), read_value=False)]):
                return tf.constant(True)

        return tf.cond(unknown, start, lambda: tf.constant(True))

    def _read(self, tensor: Any, grid: Grid, reader: str) -> RoundedTensor:
        key = (tensor.name, grid)
        if key in self.rounded:
            return self.rounded[key]
        quantizer = ActivationQuantizer(reader, grid, "lsq", fixed_range(tensor))
        with tf.compat.v1.variable_scope(reader):
            quantizer.make_variables(lambda name, value, trains: self._make(f"input/{name}", value, None, trains))
        source = tf.cast(tensor, tf.float32)
        unknown = tf.logical_and(self.trains, tf.logical_not(quantizer.known()))
        seen = tf.cond(
            tf.logical_or(self.calibrating, unknown), lambda: self._visit(quantizer, source), lambda: tf.constant(True)
        )
        with tf.control_dependencies([seen]):
            own = quantizer.round(source, tf.logical_and(self.on, quantizer.known()), self.trains)
        made = RoundedTensor(quantizer, source, own, tf.identity(own, name=f"{reader}/rounded"))
        self.rounded[key] = made
        self.plan.rounded.append(made)
        return made

    def _visit(self, quantizer: ActivationQuantizer, source: Any) -> Any:
        """Counts while calibrating; else takes a range from what is there."""

        def count(values: Any, calibrating: Any, samples: Any) -> Any:
            if not calibrating:
                return samples
            try:
                quantizer.count(values)
            except DoptError as error:
                self.plan.failure = self.plan.failure or error
                raise
            return np.float32(samples + (len(values) if values.ndim else 1))

        samples = tf.numpy_function(count, [source, self.calibrating, quantizer.samples], tf.float32)
        pairs = [(quantizer.samples, tf.ensure_shape(samples, []))]
        if quantizer.fixed is None:
            current = [tf.convert_to_tensor(each) for each in (quantizer.scale0, quantizer.zero0, quantizer.seen)]
            started = tf.cond(self.calibrating, lambda: tuple(current), lambda: quantizer.started(source))
            pairs += list(zip((quantizer.scale0, quantizer.zero0, quantizer.seen), started))
        with tf.control_dependencies([variable.assign(value, read_value=False) for variable, value in pairs]):
            return tf.constant(True)

    def _make(self, name: str, value: Any, collections: Any = None, trains: bool = False) -> Any:
        variable = tf.compat.v1.get_variable(
            name, initializer=tf.constant(value), trainable=trains, collections=collections, use_resource=True
        )
        self.plan.variables.append(variable)
        return variable


def _folded(layer: Layer, grid: WeightGrid) -> Folded:
    bias = layer.bias[0].inputs[layer.bias[1]] if layer.bias else None
    if layer.norm is None:
        return Folded(grid.identity(), bias)
    gamma, beta, mean, variance = (layer.norm.inputs[index] for index in (1, 2, 3, 4))
    factor = gamma * tf.math.rsqrt(variance + layer.norm.get_attr("epsilon"))
    return Folded(factor, beta + ((0.0 if bias is None else bias) - mean) * factor)
