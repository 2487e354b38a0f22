"""Calibrate or retrain quantized networks in PyTorch 1.11 and newer, inside of the user's own program.

    quantized = dopt.torch.prepare(network, "input:1,3,32,32")
    dopt.torch.calibrate(quantized, loader, batches=8)
    ...                                   # optional: train as ever, the optimizer built on `quantized`
    dopt.torch.convert(quantized, "out")  # QDQ ONNX, quant_params.json, plan, result
"""

from dopt.torch.api import calibrate, convert, layers, prepare, reestimate, write_settings
from dopt.torch.distill import distillation_loss

__all__ = ["calibrate", "convert", "distillation_loss", "layers", "prepare", "reestimate", "write_settings"]
