"""Whether an exported model computes with the integers of training: onnxruntime beside the forward pass, value by value."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch

from dopt.plugin.equality import Equality, OpenedModel, open_session, tie_width
from dopt.torch.calibration import evaluation
from dopt.torch.quantizer import ActivationQuantizer


def compare(network: Any, model: str, tensors: Dict[str, List[str]], batches: Sequence[Tuple[Any, ...]]) -> Optional[Equality]:
    """Runs inputs through both. None where this onnxruntime cannot run the model (16 bits before 1.17).

    Behind each comparison the network goes on with onnxruntime's values, so that every difference is one of this place.
    tensors: of the model, by name of their quantizer, in the order of calls.
    """
    wanted = [f"{tensor}/quantized" for names in tensors.values() for tensor in names]
    opened = open_session(model, wanted)
    return None if opened is None else _compare(network, opened, tensors, batches)


def _compare(network: Any, opened: OpenedModel, tensors: Dict[str, List[str]], batches: Any) -> Equality:
    total = [0, 0, 0, 0, 0]
    largest = 0.0
    with evaluation(network), torch.no_grad():
        for batch in batches:
            values = opened.run([value.cpu().numpy() for value in batch])
            ours = _first(network(*batch))
            theirs = values[opened.outputs[0]]
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
        counts[2] += int((distance > tie_width(quantizer.grid)).sum())
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
