"""AMD Quark: ``ModelQuantizer`` on ONNX."""
import onnx
from quark.onnx import (
    AdaRoundConfig,
    BiasCorrectionConfig,
    CalibMethod,
    CLEConfig,
    Int8Spec,
    ModelQuantizer,
    QConfig,
    QLayerConfig,
    QuantGranularity,
    UInt8Spec,
)

from .samples import Reader

PACKAGE = "amd-quark"

#: Iterations a layer, and samples, of AdaRound; the customary numbers take hours on a small machine.
ITERATIONS, SAMPLES = 200, 32

ALGORITHMS = {
    "percentile": lambda: [],
    "equalize-bias": lambda: [CLEConfig(), BiasCorrectionConfig()],
    "adaround": lambda: [AdaRoundConfig(num_iterations=ITERATIONS, data_size=SAMPLES)],
}
CONFIGS = list(ALGORITHMS)

LAYERS = ["Conv", "ConvTranspose", "Gemm", "MatMul"]


def quantize(model, samples, config, out):
    """Percentile ranges of the inputs of Conv, Gemm and MatMul, weights a channel, and what the configuration is called by."""
    others = {node.op_type for node in onnx.load(model).graph.node}.difference(LAYERS)
    settings = QConfig(
        global_config=QLayerConfig(
            activation=UInt8Spec(calibration_method=CalibMethod.Percentile),
            weight=Int8Spec(calibration_method=CalibMethod.MinMax, quant_granularity=QuantGranularity.Channel),
        ),
        layer_type_config={None: sorted(others)},
        algo_config=ALGORITHMS[config](),
        OpTypesToExcludeOutputQuantization=LAYERS,
    )
    ModelQuantizer(settings).quantize_model(model, out, Reader(samples))
