"""The original tool's functions for PyTorch: ``import dopt.dopt_torch.opt_main as dopt`` goes on working."""

import os
from typing import Any

from torch import Tensor, nn

from dopt.plugin.config import read_config
from dopt.plugin.folder import Written
from dopt.plugin.strategies import DEFAULT_STRATEGY
from dopt.torch import api
from dopt.torch.calibration import begin_calibration, end_calibration
from dopt.torch.checkpoint import load_state
from dopt.torch.distill import distillation_loss
from dopt.torch.export import write
from dopt.torch.build import build


def generate_config_file(
    model: nn.Module, input_shape: str, dst_path: str, default_strategy: str = DEFAULT_STRATEGY
) -> None:
    """Writes a settings file that lists the layers of a float network, all with ``default_strategy``.

    input_shape: ``"name:1,3,224,224;…"``, the shapes of deployment by forward() argument.
    """
    api.write_settings(model, input_shape, os.fspath(dst_path), default_strategy)


def optimize_model(model: nn.Module, config_file: str) -> nn.Module:
    """The quantized form of a float network; build optimizers on the result, and wrap it in DDP if you do."""
    return build(model, read_config(config_file))


def get_quant_loss(quant_model: nn.Module) -> Tensor:
    """Distance of the last training step from the float network; add about a twentieth of it to the task's loss."""
    return distillation_loss(quant_model)


def set_calibrate_state(quant_model: nn.Module, state: bool) -> None:
    """True: quantizers watch the float network from now on; False: ranges are set, and the network is quantized."""
    (begin_calibration if state else end_calibration)(quant_model)


def generate_final_model(model: nn.Module, config_file: str, pth_file: Any, output_dir: str) -> Written:
    """Writes the ONNX model and the parameter file of a calibrated or trained network.

    model: a freshly built float network of the same kind. pth_file: the state_dict() of the quantized one, saved with
    torch.save, also under the key ``state_dict`` and with the prefix ``module.`` of DDP.
    """
    quantized = build(model, read_config(config_file))
    path = os.fspath(pth_file)
    load_state(quantized, path)
    return write(quantized, os.fspath(output_dir), type(model).__name__, path)
