"""NNCF: ``nncf.quantize`` on its ONNX backend."""
import nncf
import onnx
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

PACKAGE = "nncf"

#: Preset, and whether biases are corrected in one go instead of layer after layer.
SETTINGS = {
    "fast": (nncf.QuantizationPreset.MIXED, True),
    "accurate": (nncf.QuantizationPreset.MIXED, False),
    "fast-performance": (nncf.QuantizationPreset.PERFORMANCE, True),
    "accurate-performance": (nncf.QuantizationPreset.PERFORMANCE, False),
}
CONFIGS = ["defaults", *SETTINGS]


def quantize(model, samples, config, out):
    """'defaults' names nothing but the model and the data. The others use all samples and are without the overflow fix,
    which halves the range of weights for processors without VNNI."""
    loaded = onnx.load(model)
    dataset = nncf.Dataset(samples)
    if config == "defaults":
        quantized = nncf.quantize(loaded, dataset)
    else:
        preset, fast = SETTINGS[config]
        quantized = nncf.quantize(
            loaded,
            dataset,
            preset=preset,
            fast_bias_correction=fast,
            subset_size=len(samples),
            advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.DISABLE),
        )
    onnx.save(quantized, out)
