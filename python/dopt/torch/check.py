"""Whether an exported model computes with the integers of training: onnxruntime beside the forward pass, value by value."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from dopt.torch.calibration import evaluation
from dopt.torch.quantizer import ActivationQuantizer

#: How near to the middle between two integers a value must be for two ways of adding floats to round it differently,
#: as a share of the number of levels.
TIE = 2e-5


class Equality(NamedTuple):
    """Quantized values compared, those that are another integer, and how many of these are no rounding ties."""

    samples: int
    values: int
    different: int
    beyond_ties: int
    #: Samples whose largest output is the same element, and the largest difference of outputs.
    decisions: int
    largest: float

    def sentence(self) -> str:
        """For a report."""
        return (
            f"In onnxruntime and in training, {self.values:,} quantized values of {self.samples} samples: {self.different}"
            f" differ, {self.different - self.beyond_ties} of them at rounding ties;"
            f" {self.decisions} of {self.samples} decisions are the same."
        )


def compare(network: Any, model: str, tensors: Dict[str, List[str]], batches: Sequence[Tuple[Any, ...]]) -> Optional[Equality]:
    """Runs inputs through both. None where this onnxruntime cannot run the model (16 bits before 1.17).

    Behind each comparison the network goes on with onnxruntime's values, so that every difference is one of this place.
    tensors: of the model, by name of their quantizer, in the order of calls.
    """
    import onnx
    import onnxruntime

    proto = onnx.load(model)
    wanted = [f"{tensor}/quantized" for names in tensors.values() for tensor in names]
    outputs = [each.name for each in proto.graph.output]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - onnxruntime raises errors of many classes.
        return None
    return _compare(network, session, outputs, tensors, batches)


def _compare(network: Any, session: Any, outputs: List[str], tensors: Dict[str, List[str]], batches: Any) -> Equality:
    names = [each.name for each in session.get_inputs()]
    total = [0, 0, 0, 0, 0]
    largest = 0.0
    with evaluation(network), torch.no_grad():
        for batch in batches:
            found = session.run(None, {name: value.cpu().numpy() for name, value in zip(names, batch)})
            values = dict(zip([each.name for each in session.get_outputs()], found))
            ours = _first(network(*batch))
            theirs = values[outputs[0]]
            decided = (ours.reshape(len(ours), -1).argmax(1) == theirs.reshape(len(theirs), -1).argmax(1)).sum()
            largest = max(largest, float(np.abs(ours - theirs).max(initial=0)))
            counts = _differences(network, batch, values, tensors)
            total = [a + int(b) for a, b in zip(total, (len(ours), *counts, decided))]
    return Equality(*total, largest)


def _differences(network: Any, batch: Any, values: Dict[str, Any], tensors: Dict[str, List[str]]) -> List[int]:
    """Values compared, different ones, and those beyond ties, in one pass that follows the exported model."""
    counts = [0, 0, 0]
    left = {name: list(each) for name, each in tensors.items()}

    def hook(quantizer: ActivationQuantizer, inputs: Any, output: Any) -> Any:
        if not left.get(quantizer.name):
            return None
        integers = torch.from_numpy(values[f"{left[quantizer.name].pop(0)}/quantized"].astype(np.float32)).to(output.device)
        position = inputs[0].float() / quantizer.scale()
        own = output / quantizer.scale() + quantizer.zero_point()
        different = (own.round() - integers).abs() > 0.5
        distance = ((position - position.floor()) - 0.5).abs()[different]
        counts[0] += integers.numel()
        counts[1] += int(different.sum())
        levels = quantizer.grid.high - quantizer.grid.low
        counts[2] += int((distance > max(TIE * levels, 1e-3)).sum())
        return (integers - quantizer.zero_point()) * quantizer.scale()

    quantizers = [module for module in network.modules() if isinstance(module, ActivationQuantizer)]
    handles = [quantizer.register_forward_hook(hook) for quantizer in quantizers]
    try:
        network(*batch)
    finally:
        for handle in handles:
            handle.remove()
    return counts


def _first(value: Any) -> Any:
    """The first tensor of a result, as an array with at least one axis."""
    while not isinstance(value, torch.Tensor):
        value = next(iter(value.values() if isinstance(value, dict) else value))
    return value.float().cpu().numpy().reshape(tuple(value.shape) or (1,))
