"""The quantized model as a whole: its layers, its quantizers, and what it remembers for calibration and export."""

import contextlib
import threading
import warnings
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Optional, Set, Tuple

import tensorflow as tf

from dopt.errors import DoptError
from dopt.plugin.numbers import FloatLayer
from dopt.plugin.refusals import not_quantized
from dopt.tf.layers import QuantizedLayer, Rounded, as_written, is_training
from dopt.tf.quantizer import ActivationQuantizer


class Exported:
    """What layers leave word of while a model is exported.

    ``rounded``: by the tensor that it puts out. ``layers``: (operator, layer, where its input is rounded), in the order of
    calls; ``products``: (operator, name, where its two inputs are rounded, whether each is transposed).
    """

    def __init__(self) -> None:
        self.rounded: Dict[str, Rounded] = {}
        self.layers: List[Tuple[str, Any, Rounded]] = []
        self.products: List[Tuple[str, str, List[Rounded], Tuple[bool, bool]]] = []


class Step(threading.local):
    """The training step that was called last, which distillation compares; replicas of a distributed model are threads.

    ``given`` and ``result``: of the model, None when there is nothing to compare; ``inside``: at the ends of blocks, by path.
    """

    def __init__(self) -> None:
        self.given: Any = None
        self.result: Any = None
        self.inside: Dict[str, Any] = {}

    def begin(self) -> None:
        """Forgets the step before."""
        self.given, self.result, self.inside = None, None, {}


class Plan:
    """What ``prepare`` decided about a model, kept on it as ``dopt_plan``; its layers ask it what to do.

    ``mode``: ``on`` rounds, ``off`` computes in float, ``observe`` counts, ``export`` leaves word, ``follow`` checks.
    """

    def __init__(self, config: Any, method: str, widths: str, target: str) -> None:
        self.config, self.method, self.widths, self.target = config, method, widths, target
        #: ``off`` while the model is put together.
        self.mode = "off"
        self.float_layers: List[FloatLayer] = []
        self.products: List[str] = []
        #: Deployment shapes and types by input, in the order of the model.
        self.inputs: List[Tuple[str, Tuple[int, ...], Any]] = []
        #: How each result is compared with the float copy's: structure.output_kind().
        self.outputs: List[str] = []
        #: Paths of the layers that blocks end with.
        self.ends: FrozenSet[str] = frozenset()
        self.step = Step()
        #: Makes the float copy, another QuantizedModel that stays in mode ``off``; and the one that distillation made.
        self.float_copy: Callable[[], "QuantizedModel"]
        self.teacher: Any = None
        self.exported = Exported()
        #: The error that ended calibration.
        self.failure: Optional[DoptError] = None
        self._warned: Set[str] = set()

    def of_float_copy(self) -> "Plan":
        """The plan of a float copy."""
        plan = Plan(self.config, self.method, self.widths, self.target)
        plan.ends = self.ends
        return plan

    def reached(self, path: str, y: Any, training: Any) -> Any:
        """``y``, what a layer puts out; at the end of a block it is kept for distillation."""
        if path in self.ends and (self.mode == "off" or is_training(training)):
            self.step.inside[path] = y
        return y

    def warn_uncalibrated(self, name: str) -> None:
        """Once for each quantizer."""
        if name in self._warned:
            return
        self._warned.add(name)
        warnings.warn(
            f"The input of {name} has no range yet and stays float: calibrate the network, or train it.", stacklevel=2
        )


class Product(tf.keras.layers.Layer):
    """A product of two activations, called with tensors that are rounded."""

    def __init__(self, plan: Plan, **more: Any) -> None:
        super().__init__(dtype="float32", **more)
        self.plan = plan

    @as_written
    def call(self, inputs: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
        y = tf.matmul(inputs[0], inputs[1], transpose_a=transpose_a, transpose_b=transpose_b)
        if self.plan.mode == "export":
            places = [self.plan.exported.rounded[each.name] for each in inputs]
            self.plan.exported.products.append((y.op.name, self.name, places, (transpose_a, transpose_b)))
        return y


class QuantizedModel(tf.keras.Model):
    """A functional model of quantized layers; trained, saved and distributed like any other."""

    dopt_plan: Plan

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        step = self.dopt_plan.step
        step.begin()
        y = super().call(inputs, training=training, mask=mask)
        if is_training(training):
            step.given, step.result = inputs, y
        return y


def quantized_model(model: Any) -> QuantizedModel:
    """Raises DoptError PLUGIN_NOT_QUANTIZED for other models."""
    if not isinstance(model, QuantizedModel):
        raise not_quantized(getattr(model, "name", type(model).__name__), "dopt.tf.prepare()")
    return model


def rounded_in(model: Any) -> List[Rounded]:
    """Every place where a tensor is rounded."""
    return [layer for layer in model.layers if isinstance(layer, Rounded)]


def quantizers_of(model: Any) -> List[ActivationQuantizer]:
    """All quantizers of activations, each once."""
    return list({id(each.quantizer): each.quantizer for each in rounded_in(model)}.values())


def layers_in(model: Any) -> List[Any]:
    """All layers with quantized weights, each once."""
    return [layer for layer in model.layers if isinstance(layer, QuantizedLayer)]


@contextlib.contextmanager
def mode(model: Any, wanted: str) -> Iterator[None]:
    """Within, the model works in another mode. Only for calls that are not compiled."""
    kept, model.dopt_plan.mode = model.dopt_plan.mode, wanted
    try:
        yield
    finally:
        model.dopt_plan.mode = kept


def forget_compiled(model: Any) -> None:
    """What ``fit`` and ``predict`` compiled saw the model as it was then; they compile again."""
    model.train_function = model.test_function = model.predict_function = None
