"""What the plug-in put into a session's graph, kept on the graph; and changing a graph that a session has run already."""

import contextlib
from typing import Any, Dict, List, NamedTuple, Optional, Union

import tensorflow as tf

from dopt.errors import DoptError
from dopt.plugin.numbers import FloatLayer, layers_by_name
from dopt.plugin.refusals import not_quantized
from dopt.tf.quantizer import ActivationQuantizer
from dopt.tf.session.graph import Layer
from dopt.tf.weights import Folded, WeightGrid


class RoundedTensor(NamedTuple):
    """A tensor that is rounded. ``source``: what it was; ``own``: its rounded form; ``read``: the same, what layers read."""

    quantizer: ActivationQuantizer
    source: Any
    own: Any
    read: Any


class QuantizedOperator(NamedTuple):
    """A layer with its grid. ``weight``: the float weight; ``inputs``: where its data are rounded."""

    layer: Layer
    inputs: List[RoundedTensor]
    grid: Optional[WeightGrid]
    weight: Any
    folded: Optional[Folded]


class Plan:
    """What ``optimize_model`` decided, and the flags that it reads."""

    def __init__(self, config: Any, widths: str, target: str, float_layers: List[FloatLayer], float_def: Any) -> None:
        self.config, self.widths, self.target, self.float_layers = config, widths, target, float_layers
        #: The graph as it was, for distillation.
        self.float_def = float_def
        self.calibrating: Any = None
        self.rounded: List[RoundedTensor] = []
        self.operators: List[QuantizedOperator] = []
        #: The error that ended calibration.
        self.failure: Optional[DoptError] = None
        #: Our variables, which are initialized by us.
        self.variables: List[Any] = []

    def layers(self) -> Dict[str, Union[str, FloatLayer]]:
        """What became of every layer by name: its widths, ``product``, or a FloatLayer."""
        bits = [(each, each.layer.name.path, each.inputs[0].quantizer.grid.bits) for each in self.operators]
        widths = [(path, inputs, each.grid.bits) for each, path, inputs in bits if each.grid is not None]
        products = [path for each, path, _ in bits if each.grid is None]
        return layers_by_name(widths, products, self.float_layers)


def plan_of(sess: Any) -> Plan:
    """The plan of a session's graph. Raises DoptError PLUGIN_NOT_QUANTIZED."""
    plan = getattr(checked(sess).graph, "_dopt_plan", None)
    if plan is None:
        raise not_quantized("The graph of this session", "a session that was given to optimize_model()")
    return plan


def checked(sess: Any) -> Any:
    """The session itself. Raises DoptError PLUGIN_SESSION for anything else."""
    if not isinstance(sess, (tf.compat.v1.Session, tf.compat.v1.InteractiveSession)):
        raise DoptError(
            "PLUGIN_SESSION",
            f"A tf.compat.v1.Session is wanted, not {type(sess).__name__}.",
            found=type(sess).__name__,
            suggestions=["Keras models go through dopt.tf.prepare()."],
        )
    return sess


def renewed(sess: Any, values: Dict[Any, Any], more: List[Any]) -> None:
    """Lets a session see its graph as it is now: TensorFlow gives no effect to changes of operators that have run.

    values: of variables, kept from before; ``more``: variables that are new.
    """
    from tensorflow.python.client import pywrap_tf_session as core

    options = core.TF_NewSessionOptions(target=sess._target, config=sess._config)  # noqa: SLF001
    try:
        with _c_graph(sess.graph) as graph:
            old, sess._session = sess._session, core.TF_NewSessionRef(graph, options)  # noqa: SLF001
    finally:
        core.TF_DeleteSessionOptions(options)
    core.TF_CloseSession(old)
    core.TF_DeleteSession(old)
    sess.run([variable.initializer for variable in more])
    for variable, value in values.items():
        variable.load(value, sess)


def _c_graph(graph: Any) -> Any:
    """A context that gives the graph as TensorFlow's C functions take it: since 2.12 it is lent, before it was there."""
    held = graph._c_graph  # noqa: SLF001
    return held.get() if hasattr(held, "get") else contextlib.nullcontext(held)


def initialized(sess: Any) -> Dict[Any, Any]:
    """Values of the variables that have one."""
    with sess.graph.as_default():
        variables = [each for each in tf.compat.v1.global_variables() + tf.compat.v1.local_variables()]
        if not variables:
            return {}
        known = sess.run([tf.compat.v1.is_variable_initialized(variable) for variable in variables])
    kept = [variable for variable, has in zip(variables, known) if has]
    return {_Key(variable): value for variable, value in zip(kept, sess.run(kept))} if kept else {}


class _Key:
    """A variable as a key: variables themselves compare element by element."""

    def __init__(self, variable: Any) -> None:
        self.variable = variable

    def load(self, value: Any, sess: Any) -> None:
        """Sets the variable."""
        self.variable.load(value, sess)
