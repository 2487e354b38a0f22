"""The original tool's functions for TensorFlow: ``import dopt.dopt_tf.opt_main as dopt`` goes on working.

They work on graphs of TensorFlow 1 and their sessions (tf.compat.v1); Keras models go through ``dopt.tf``.
"""

import os
import warnings
from typing import Any, List, Optional, Sequence, Union

from dopt.plugin.config import read_config, write_config
from dopt.plugin.strategies import DEFAULT_STRATEGY
from dopt.tf.frozen import TensorflowWritten
from dopt.tf.session.build import build, check_float
from dopt.tf.session.calibration import begin_calibration, end_calibration
from dopt.tf.session.distill import distillation_loss
from dopt.tf.session.export import write
from dopt.tf.session.graph import inputs_of, layers_of


def generate_config_file(
    sess: Any, dst_path: str, input_shape: Optional[str] = None, default_strategy: str = DEFAULT_STRATEGY
) -> None:
    """Writes a settings file that lists the layers of a session's float graph, all with ``default_strategy``.

    input_shape: ``"x:1,224,224,3"`` by placeholder; those of the graph when None, with 1 for an open batch.
    """
    layers = layers_of(check_float(sess))
    if input_shape is None:
        shapes = inputs_of(sess.graph, layers)
        text = {name: ",".join(str(size or 1 if at == 0 else size or "?") for at, size in enumerate(shape)) for name, shape in shapes.items()}
        input_shape = ";".join(f"{name}:{sizes or '?'}" for name, sizes in text.items())
    write_config(os.fspath(dst_path), [layer.name for layer in layers], input_shape, default_strategy)


def optimize_model(sess: Any, config_file: str, is_train_flag: Any, quant_flag: Any) -> None:
    """Quantizes the graph of a session in place; build losses and optimizers afterwards, and restore weights.

    is_train_flag: bool or boolean tensor: whether scales and ranges learn. quant_flag: whole number or tensor: 0 computes in
    float, more than 0 quantized. Values that variables have already are kept.
    """
    graph = check_float(sess)
    if any(operator.type.startswith(("ResourceApply", "ResourceSparseApply", "Apply")) for operator in graph.get_operations()):
        warnings.warn(
            "The graph has an optimizer already, whose gradients know nothing of the quantization: call optimize_model()"
            " first, then minimize().",
            stacklevel=2,
        )
    build(sess, read_config(config_file), is_train_flag, quant_flag)


def set_calibrate_state(sess: Any, state: bool) -> None:
    """True: quantizers watch the float network from now on; False: ranges are set, and the network is quantized."""
    (begin_calibration if state else end_calibration)(sess)


def get_quant_loss(sess: Any, output_name_list: Union[str, Sequence[str]]) -> Any:
    """A scalar tensor: distance of the quantized graph from the float network; add about a twentieth of it to the task's loss.

    The float network is a copy in the graph, with the weights that the session has now: call it after they are restored. It
    is read at output_name_list (nodes or tensors that the network ends with) and at the ends of its blocks.
    """
    return distillation_loss(sess, _names(output_name_list))


def generate_final_model(
    sess: Any, config_file: str, output_name_list: Union[str, Sequence[str]], ckpt_file: str, output_dir: str
) -> TensorflowWritten:
    """Writes the .pb, the ONNX model and the parameter file of a calibrated or trained network.

    sess: a session with the freshly built float graph, best built for inference. ckpt_file: a checkpoint of the session that
    optimize_model() was given. output_name_list: nodes or tensors that the network ends with.
    """
    return write(sess, read_config(config_file), _names(output_name_list), os.fspath(ckpt_file), os.fspath(output_dir), "model")


def _names(outputs: Union[str, Sequence[str]]) -> List[str]:
    return [outputs] if isinstance(outputs, str) else list(outputs)
