"""One onnxruntime post-training quantization, as a peer for docs/benchmarks.md.

    python onnxruntime_baseline.py MODEL SAMPLES.json CONFIG OUT.onnx

SAMPLES.json is the answer of dopt's ``materialize``: the very tensors that dopt calibrates with. CONFIG is one of
CONFIGS below. Prints one JSON object: seconds and peak memory of the whole quantization, and onnxruntime's version.
"""
import json
import os
import resource
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

WEIGHTED = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
SCOPES = ("all", "weighted", "inputs")
CONFIGS = ["defaults"] + ["%s-%s" % (method, scope) for method in METHODS for scope in SCOPES]


class Samples(CalibrationDataReader):
    """The materialized samples, one at a time."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.samples = iter(json.load(file)["samples"])

    def get_next(self):
        sample = next(self.samples, None)
        if sample is None:
            return None
        return {
            name: np.fromfile(t["path"], dtype=t["dtype"]).reshape(t["shape"]) for name, t in sample["tensors"].items()
        }


def quantize(model, samples, config, out):
    """Quantizes as ``config`` says.

    'defaults' calls quantize_static with nothing but the model and the data. The others are per-channel, uint8
    activations and int8 weights, with a calibration method and a scope: 'all' quantizes every operator onnxruntime
    can, 'weighted' Conv, Gemm and MatMul with their inputs and outputs, 'inputs' the same without their outputs.
    """
    reader = Samples(samples)
    if config == "defaults":
        quantize_static(model, out, reader)
        return
    method, scope = config.split("-")
    quantize_static(
        model,
        out,
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=METHODS[method],
        op_types_to_quantize=None if scope == "all" else WEIGHTED,
        extra_options={"OpTypesToExcludeOutputQuantization": WEIGHTED} if scope == "inputs" else {},
    )


def main():
    model, samples, config, out = sys.argv[1:]
    if config not in CONFIGS:
        sys.exit("CONFIG is one of: " + ", ".join(CONFIGS))
    with tempfile.TemporaryDirectory() as folder:
        # onnxruntime asks for its own preparation (shape inference, folding of batch normalization) first, and writes
        # per-channel models below opset 13 that cannot be loaded.
        prepared = os.path.join(folder, "prepared.onnx")
        loaded = onnx.load(model)
        if next(o.version for o in loaded.opset_import if o.domain in ("", "ai.onnx")) < 13:
            loaded = onnx.version_converter.convert_version(loaded, 13)
        converted = os.path.join(folder, "converted.onnx")
        onnx.save(loaded, converted)
        quant_pre_process(converted, prepared, skip_symbolic_shape=True)
        started = time.monotonic()
        quantize(prepared, samples, config, out)
        seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peakBytes": peak, "onnxruntime": onnxruntime.__version__}))


if __name__ == "__main__":
    main()
