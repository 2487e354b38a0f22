"""A trained quantized Keras model as ONNX, .pb and parameter file: the integers written are those of the forward pass."""

import time
from typing import Any, List, Optional, Set, Tuple

import numpy as np
import tensorflow as tf

from dopt.errors import DoptError, in_a_line
from dopt.plugin.equality import judged
from dopt.plugin.folder import Origin
from dopt.plugin.numbers import Network, Quantizer
from dopt.plugin.refusals import uncalibrated
from dopt.tf.check import compare
from dopt.tf.frozen import Border, Frozen, Place, TensorflowWritten, plain_name, write_frozen
from dopt.tf.network import Exported, layers_in, mode, quantizers_of

#: Random inputs on which an exported model is compared with the network.
CHECKED = 4


def write(network: Any, out: str, name: Optional[str] = None) -> TensorflowWritten:
    """Writes the result folder. Raises DoptError PLUGIN_NO_CALIBRATION with the layers that have no range, and others."""
    started = time.time()
    check_calibrated(network)
    plan = network.dopt_plan
    title = (name or network.name).replace("/", "_")
    frozen = freeze(network)
    numbers = {layer.path: layer.numbers() for layer in layers_in(network)}
    used = {quantizer for _, _, quantizer in frozen.layers} | {each for _, _, pair in frozen.products for each in pair}
    quantizers = [numbers_of(each) for each in quantizers_of(network) if each.name in used]
    described = Network(title, quantizers, [], [], plan.float_layers, plan.widths, plan.target)
    samples = max((int(each.samples.numpy()) for each in quantizers_of(network)), default=0)
    origin = Origin(None, samples, {"tensorflow": tf.__version__}, [], started)
    return write_frozen(out, frozen, described, numbers, origin, lambda *found: _checked(network, *found))


def numbers_of(quantizer: Any) -> Quantizer:
    """What is exported of a quantizer."""
    learned = [each for each in (quantizer.log_scale, quantizer.shift) if each is not None]
    trained = any(float(tf.reduce_max(tf.abs(each)).numpy()) > 0 for each in learned)
    seen = tf.convert_to_tensor(quantizer.seen).numpy()
    scale, zero_point = quantizer.grid_now()
    return quantizer.numbers(scale.numpy(), zero_point.numpy(), seen, trained)


def check_calibrated(network: Any) -> None:
    """Raises DoptError PLUGIN_NO_CALIBRATION where a quantizer has no range yet."""
    quantizers = quantizers_of(network)
    missing = [each.name for each in quantizers if not bool(each.known().numpy())]
    if network.dopt_plan.mode == "observe":
        missing = [each.name for each in quantizers]
    if missing:
        raise uncalibrated(missing, "Calibrate: dopt.tf.calibrate(net, data); or train.")


def freeze(network: Any) -> Frozen:
    """The float network with folded weights, at its deployment shape. Raises DoptError MODEL_EXPORT."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    plan = network.dopt_plan
    specs = [tf.TensorSpec(shape, dtype, name=f"input_{at}") for at, (_, shape, dtype) in enumerate(plan.inputs)]
    plan.exported = Exported()
    single = len(specs) == 1
    try:
        with mode(network, "export"):
            function = tf.function(lambda *given: network(given[0] if single else list(given), training=False))
            constants = convert_variables_to_constants_v2(function.get_concrete_function(*specs), lower_control_flow=False)
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise DoptError(
            "MODEL_EXPORT",
            f"{network.name} cannot be exported at the shapes in the settings: {in_a_line(error)}",
            kind="external",
            suggestions=["Correct input_shape in the settings."],
        ) from error
    names = ["output"] if len(constants.outputs) == 1 else [f"output{at}" for at in range(len(constants.outputs))]
    inputs = [tensor for tensor in constants.inputs if tensor.dtype != tf.resource]
    exported = plan.exported
    graph_def = constants.graph.as_graph_def()
    for node in graph_def.node:
        # Keras calls operators after classes; the graph has the names that it has without quantization.
        node.name = plain_name(node.name)
        node.input[:] = [plain_name(each) for each in node.input]
    _without_marks(graph_def, {plain_name(name.split(":")[0]) for name in exported.rounded})
    return Frozen(
        graph_def,
        [Border(tensor.name, name, shape) for tensor, (name, shape, _) in zip(inputs, plan.inputs)],
        [Border(plain_name(tensor.name), name, tuple(tensor.shape)) for tensor, name in zip(constants.outputs, names)],
        [(plain_name(operator), layer.path, place.quantizer.name) for operator, layer, place in exported.layers],
        [(operator, name, [each.quantizer.name for each in places]) for operator, name, places, _ in exported.products],
    )


def _without_marks(graph_def: Any, names: Set[str]) -> None:
    """Lets readers of these Identity nodes read what they hand on, and takes them out."""
    sources = {node.name: node.input[0] for node in graph_def.node if node.name in names}
    kept = []
    for node in graph_def.node:
        if node.name in sources:
            continue
        for at, entry in enumerate(node.input):
            while entry in sources:
                entry = sources[entry]
            node.input[at] = entry
        kept.append(node)
    del graph_def.node[:]
    graph_def.node.extend(kept)


def _checked(network: Any, model: str, places: List[Place]) -> List[str]:
    """Compares on a few random inputs. Raises DoptError PLUGIN_PARITY when integers differ other than at ties."""
    batches = [example_inputs(network, seed) for seed in range(CHECKED)]
    hint = "Does call() depend on values, or on the size of the batch?"
    return judged(compare(network, model, places, batches), model, hint)


def example_inputs(network: Any, seed: int = 0) -> Tuple[Any, ...]:
    """Random inputs of the deployment shapes, within what calibration saw where an input is rounded itself."""
    rng = np.random.default_rng(seed)
    seen = {place.source: place.quantizer for place in network.layers if getattr(place, "source", None) is not None}
    arrays = []
    for at, (_, shape, dtype) in enumerate(network.dopt_plan.inputs):
        if not dtype.is_floating:
            arrays.append(rng.integers(0, 2, shape).astype(dtype.as_numpy_dtype))
        elif at in seen:
            low, high = tf.convert_to_tensor(seen[at].seen).numpy()
            arrays.append(rng.uniform(low, high, shape).astype(np.float32))
        else:
            arrays.append(rng.standard_normal(shape).astype(np.float32))
    return tuple(arrays)
