"""AIMET: simulation on ONNX, exported as a QDQ model."""
import itertools

import onnx
from aimet_onnx import QuantizationSimModel, apply_adaround

PACKAGE = "aimet-onnx"
CONFIGS = ["defaults", "tf-enhanced", "adaround"]

LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
MOVES = {"Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity"}

#: Iterations a layer, and samples, of AdaRound; the customary 10,000 iterations take hours on a small machine.
ITERATIONS, SAMPLES = 200, 32


def layer_inputs(graph):
    """Names of what layers read, and of what it was before it was moved: some tensors have their quantizer there."""
    producers = {output: node for node in graph.node for output in node.output}
    names = set()
    for node in graph.node:
        value = node.input[0] if node.op_type in LAYERS else None
        while value is not None:
            names.add(value)
            before = producers.get(value)
            value = before.input[0] if before is not None and before.op_type in MOVES else None
    return names


def quantize(model, samples, config, out):
    """'defaults' names nothing but the model and the data: weights a channel, outputs of all operators, whole ranges. The
    others quantize the inputs of Conv, Gemm and MatMul alone, with tf-enhanced ranges; 'adaround' learns the rounding."""
    loaded = onnx.load(model)
    inputs = layer_inputs(loaded.graph)
    scheme = {} if config == "defaults" else {"quant_scheme": "tf_enhanced"}
    sim = QuantizationSimModel(loaded, **scheme)
    if config != "defaults":
        for name in sim.activation_names:
            sim.qc_quantize_op_dict[name].enabled = name in inputs
    if config == "adaround":
        apply_adaround(sim, list(itertools.islice(samples, SAMPLES)), ITERATIONS)
    sim.compute_encodings(samples)
    onnx.save(sim.to_onnx_qdq(prequantize_constants=True), out)
