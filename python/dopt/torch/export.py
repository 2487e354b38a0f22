"""A trained quantized network as ONNX and parameter file: the integers written are those of the forward pass."""

import contextlib
import os
import tempfile
import time
import warnings
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch

from dopt.doors.torch.export import separate_parameters
from dopt.doors.torch.patches import export_settings, exportable
from dopt.errors import DoptError, in_a_line
from dopt.plugin.equality import judged
from dopt.plugin.folder import Origin, Written, write_folder
from dopt.plugin.numbers import Network
from dopt.plugin.refusals import uncalibrated
from dopt.torch.calibration import evaluation
from dopt.torch.capture import argument_names
from dopt.torch.check import compare
from dopt.torch.network import layers_in, quantized_network, quantizers_of, set_modes
from dopt.torch.onnx_graph import Places, resolve

#: Random inputs on which an exported model is compared with the network.
CHECKED = 4


def write(model: Any, out: str, name: Optional[str] = None, state: Optional[str] = None) -> Written:
    """Writes the result folder of a quantized network. ``state``: the checkpoint it was loaded from, for the record.

    Raises DoptError PLUGIN_NO_CALIBRATION (with the layers that have no range), MODEL_EXPORT and those of the folder.
    """
    started = time.time()
    network = quantized_network(model)
    check_calibrated(network)
    title = name or type(network).__name__.replace("Quantized", "", 1)
    with tempfile.TemporaryDirectory(prefix="dopt-plugin-") as scratch:
        exported = os.path.join(scratch, f"{title}.onnx")
        with evaluation(network), torch.no_grad():
            numbers = {layer.path: layer.numbers() for layer in layers_in(network)}
            with _exporting(network):
                _export(network, exported)
        names = {quantizer.number: quantizer.name for quantizer in quantizers_of(network)}
        described = _described(network, title, numbers, resolve(exported, names))
        samples = max((int(quantizer.samples) for quantizer in quantizers_of(network)), default=0)
        origin = Origin(state, samples, {"torch": torch.__version__}, [], started)
        return write_folder(out, exported, described, origin, lambda *found: _checked(network, *found))


def _checked(network: Any, model: str, tensors: Dict[str, List[str]]) -> List[str]:
    """Compares on a few random inputs. Raises DoptError PLUGIN_PARITY when integers differ other than at ties."""
    shapes = list(network.dopt_plan.config.inputs.values())
    with evaluation(network), torch.no_grad():
        batches = [example_inputs(network, shapes, seed) for seed in range(CHECKED)]
    hint = "Does forward() depend on values, or on the size of the batch?"
    return judged(compare(network, model, tensors, batches), model, hint)


def check_calibrated(network: Any) -> None:
    """Raises DoptError PLUGIN_NO_CALIBRATION where a quantizer or weight has no range yet."""
    missing = [quantizer.name for quantizer in quantizers_of(network) if not quantizer.is_calibrated]
    missing += [layer.path for layer in layers_in(network) if not layer.is_calibrated]
    if any(quantizer.mode == "observe" for quantizer in quantizers_of(network)):
        missing = [quantizer.name for quantizer in quantizers_of(network)]
    if not missing:
        return
    how = "Calibrate: set_calibrate_state(net, True), run some batches, set_calibrate_state(net, False); or train."
    raise uncalibrated(missing, how)


def _described(network: Any, title: str, numbers: Dict[str, Any], places: Places) -> Network:
    plan = network.dopt_plan
    layers = [numbers[path]._replace(name=node) for node, path in places.layers]
    used = {reading.quantizer for reading in places.readings}
    quantizers = [quantizer.numbers() for quantizer in quantizers_of(network) if quantizer.name in used]
    return Network(title, quantizers, places.readings, layers, plan.float_layers, plan.widths, plan.target)


@contextlib.contextmanager
def _exporting(network: Any) -> Iterator[None]:
    """Within, layers compute with folded float weights, and quantizers leave marks."""
    layers = layers_in(network)
    for layer in layers:
        layer.begin_export()
    for number, quantizer in enumerate(quantizers_of(network), 1):
        quantizer.number, quantizer.mode = number, "export"
    try:
        yield
    finally:
        set_modes(network, "on")
        for layer in layers:
            layer.end_export()


def _export(network: Any, path: str) -> None:
    shapes = network.dopt_plan.config.inputs
    examples = example_inputs(network, list(shapes.values()))
    outputs = _count_tensors(network(*examples))
    settings: Dict[str, Any] = {
        **export_settings(),
        # PRESERVE keeps batch normalization and the names of weights; the network is in evaluation mode already.
        "training": torch.onnx.TrainingMode.PRESERVE,
        "do_constant_folding": False,
        "input_names": list(shapes),
        "output_names": ["output"] if outputs == 1 else [f"output{index}" for index in range(outputs)],
    }
    try:
        with exportable(fixed_batch=True), warnings.catch_warnings():
            # Sizes become numbers on purpose: the graph is that of the deployment shape.
            warnings.simplefilter("ignore")
            torch.onnx.export(network, examples, path, **settings)
    except Exception as error:  # noqa: BLE001 - torch raises many types here.
        text = in_a_line(error, 400)
        raise DoptError(
            "MODEL_EXPORT",
            f"torch cannot export {type(network).__name__}: {text}",
            kind="external",
            suggestions=["Spell the operator that the message names with others in forward()."],
        ) from error
    separate_parameters(path)


def example_inputs(network: Any, shapes: List[Tuple[int, ...]], seed: int = 0) -> Tuple[torch.Tensor, ...]:
    """Inputs that the network takes: floats, or indices where it cannot compute with floats."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    floats = tuple(torch.randn(shape, generator=generator).to(device) for shape in shapes)
    try:
        network(*floats)
        return floats
    except (RuntimeError, IndexError, TypeError):
        indices = tuple(torch.zeros(shape, dtype=torch.int64, device=device) for shape in shapes)
    try:
        network(*indices)
    except Exception as error:  # noqa: BLE001 - the user's program may raise anything.
        names = ", ".join(argument_names(network, list(network.dopt_plan.config.inputs)))
        raise DoptError(
            "PLUGIN_INPUTS",
            f"{type(network).__name__} fails on inputs of the shapes in the settings ({names}): {error}",
            found=str(shapes),
            suggestions=["Correct input_shape in the settings file."],
        ) from error
    return indices


def _count_tensors(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return 1
    if isinstance(value, dict):
        return sum(_count_tensors(each) for each in value.values())
    return sum(_count_tensors(each) for each in value) if isinstance(value, (list, tuple)) else 0
