"""Files for the converter from a quantized model in memory: through the artifact that the stages write, too."""

import os
import shutil
import tempfile
from typing import Any, Dict, List

import torch
from torch import nn

from dopt.dopt_lm.layers import QuantEmbedding, QuantLinear
from dopt.dopt_lm.quantizers import weight_integers
from dopt.errors import DoptError
from dopt.events import Events
from dopt.llm.artifact import Reader, Writer
from dopt.llm.export import original


def write_parameters(model: nn.Module, layers: List[Any], out: str, options: Dict[str, Any]) -> List[str]:
    """Writes the third stage's files into ``out``; see ``do_opt.generate_quant_params``."""
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".dopt-", dir=out) as scratch:
        folder, staged = os.path.join(scratch, "artifact"), os.path.join(scratch, "files")
        _write_artifact(model, layers, folder)
        original.write(Reader(folder), staged, {**options, "stages": [3]}, Events())
        names = sorted(os.listdir(staged))
        for name in names:
            shutil.move(os.path.join(staged, name), os.path.join(out, name))
    return [os.path.join(out, name) for name in names]


def _write_artifact(model: nn.Module, layers: List[Any], folder: str) -> None:
    writer = Writer(folder)
    written = set()
    for layer in layers:
        settings, scales = layer.settings, layer.weight_scale.detach().float().cpu()
        if not bool((scales > 0).all()):
            raise DoptError(
                "LLM_SCALE",
                f"A scale of {layer.name} is not above 0 after training.",
                place=layer.name,
                suggestions=["Train with a lower learning rate for the scales."],
            )
        integers = weight_integers(layer.weight, layer.weight_scale, settings.bits).cpu().numpy()
        written.update((f"{layer.name}.weight", f"{layer.name}.weight_scale"))
        if isinstance(layer, QuantEmbedding):
            writer.embedding(layer.name, integers, scales.numpy())
            continue
        form = {"bits": settings.bits, "group_size": settings.group_size, "strategy": "plugin"}
        writer.linear(layer.name, integers, scales.numpy(), **form)
        written.update((f"{layer.name}.input_scale", f"{layer.name}.input_zero_point"))
        _write_input(writer, layer)
    for name, tensor in model.state_dict().items():
        if name not in written:
            writer.floats(name, _plain(tensor))
    config = getattr(model, "config", None)
    writer.close({"config": {"architectures": [type(model).__name__], **({} if config is None else _sizes(config))}})


def _write_input(writer: Writer, layer: QuantLinear) -> None:
    settings = layer.settings
    if settings.input_bits is None or not layer.input_state:
        return
    scale, zero = float(layer.input_scale), int(layer.input_zero_point)
    if not scale > 0:
        raise DoptError(
            "LLM_NOT_CALIBRATED",
            f"The input of {layer.name} has no range.",
            place=layer.name,
            suggestions=[
                "Load the state of a calibrated model, or calibrate: set_calibrate_state(model, True), data, then False.",
                "For weights alone: set_quant_state(model, True, False).",
            ],
        )
    most = (1 << (settings.input_bits - 1)) - 1
    least = -most if settings.input_symmetric else -most - 1
    limits = ((least - zero) * scale, (most - zero) * scale)
    writer.activation(
        f"{layer.name}:input", scale, zero, settings.input_bits, settings.input_symmetric, *limits, None, settings.input_rule
    )


def _plain(tensor: Any) -> Any:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _sizes(config: Any) -> Dict[str, Any]:
    return {"vocab_size": getattr(config, "vocab_size", 0)}
