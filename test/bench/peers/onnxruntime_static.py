"""onnxruntime: ``quantize_static``."""
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from .samples import Reader

PACKAGE = "onnxruntime"

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
CONFIGS = ["defaults", *METHODS]

WEIGHTED = ["Conv", "ConvTranspose", "Gemm", "MatMul"]


def quantize(model, samples, config, out):
    """'defaults' names nothing but the model and the data. The others are per channel and quantize the inputs of Conv, Gemm
    and MatMul, with ranges by the method they are called by."""
    # onnxruntime asks for its own preparation first.
    prepared = model.replace(".onnx", ".prepared.onnx")
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    reader = Reader(samples)
    if config == "defaults":
        quantize_static(prepared, out, reader)
        return
    quantize_static(
        prepared,
        out,
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=METHODS[config],
        op_types_to_quantize=WEIGHTED,
        extra_options={"OpTypesToExcludeOutputQuantization": WEIGHTED},
    )
