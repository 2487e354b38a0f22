"""Calibrate or retrain quantized Keras models in TensorFlow 2.8 and newer, inside of the user's own program.

    quantized = dopt.tf.prepare(model, "input:1,32,32,3")
    dopt.tf.calibrate(quantized, dataset, batches=8)
    ...                                   # optional: compile and fit as ever, or a loop with GradientTape
    dopt.tf.convert(quantized, "out")     # QDQ ONNX, frozen .pb, quant_params.json, plan, result
"""

from dopt.tf.api import calibrate, convert, layers, prepare, reestimate, write_settings
from dopt.tf.distill import add_distillation_loss, distillation_loss

__all__ = [
    "add_distillation_loss",
    "calibrate",
    "convert",
    "distillation_loss",
    "layers",
    "prepare",
    "reestimate",
    "write_settings",
]
