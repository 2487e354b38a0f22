"""onnx-neural-compressor: static quantization with SmoothQuant."""
from onnx_neural_compressor.quantization import CalibrationMethod, QuantFormat, QuantType, config as configs, quantize as run

from .samples import Reader

PACKAGE = "onnx-neural-compressor"
CONFIGS = ["static", "smooth-quant"]

WEIGHTED = ["Conv", "Gemm", "MatMul"]


def quantize(model, samples, config, out):
    """Per channel, inputs of Conv, Gemm and MatMul; 'smooth-quant' moves scales from activations into weights first."""
    run(
        model,
        out,
        configs.StaticQuantConfig(
            Reader(samples),
            calibrate_method=CalibrationMethod.MinMax,
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=WEIGHTED,
            per_channel=True,
            calibration_sampling_size=len(samples),
            extra_options={
                "OpTypesToExcludeOutputQuantization": WEIGHTED,
                "SmoothQuant": config == "smooth-quant",
                "SmoothQuantCalibIter": len(samples),
            },
        ),
    )
