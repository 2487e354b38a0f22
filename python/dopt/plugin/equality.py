"""Whether an exported model computes with the integers of training: what a comparison counts, whatever the framework."""

import os
from typing import Any, Dict, List, NamedTuple, Optional

from dopt.errors import DoptError
from dopt.plugin.strategies import Grid

#: How near to the middle between two integers a value must be for two ways of adding floats to round it differently,
#: as a share of the number of levels.
TIE = 2e-5


def tie_width(grid: Grid) -> float:
    """The same in steps of the grid."""
    return max(TIE * (grid.high - grid.low), 1e-3)


class Equality(NamedTuple):
    """Quantized values compared, those that are another integer, and how many of these are no rounding ties."""

    samples: int
    values: int
    different: int
    beyond_ties: int
    #: Samples whose largest output is the same element, and the largest difference of outputs.
    decisions: int
    largest: float

    def sentence(self) -> str:
        """For a report."""
        return (
            f"In onnxruntime and in training, {self.values:,} quantized values of {self.samples} samples: {self.different}"
            f" differ, {self.different - self.beyond_ties} of them at rounding ties;"
            f" {self.decisions} of {self.samples} decisions are the same."
        )


def judged(found: Optional[Equality], model: str, hint: str) -> List[str]:
    """Notes for the report. ``found``: None where the model could not be run.

    Raises DoptError PLUGIN_PARITY when integers differ other than at ties; ``hint`` says what in a program may cause it.
    """
    if found is None:
        return ["The exported model was not run: this onnxruntime has no 16-bit operators."]
    if found.beyond_ties:
        raise DoptError(
            "PLUGIN_PARITY",
            f"{model} does not compute what the network computes. {found.sentence()}",
            kind="bug",
            place=model,
            suggestions=[f"{hint} Else please report the network."],
        )
    return [found.sentence()]


class OpenedModel:
    """A model in onnxruntime, optimizations off: what the QDQ file says. ``outputs``: the model's own."""

    def __init__(self, session: Any, outputs: List[str]) -> None:
        self.session, self.outputs = session, outputs
        self.inputs = [each.name for each in session.get_inputs()]

    def run(self, arrays: List[Any]) -> Dict[str, Any]:
        """Values of all outputs by name, for inputs in their order."""
        found = self.session.run(None, dict(zip(self.inputs, arrays)))
        return dict(zip([each.name for each in self.session.get_outputs()], found))


def open_session(model: str, more_outputs: List[str]) -> Optional[OpenedModel]:
    """The quantized model with further outputs; None where this onnxruntime cannot run it (16 bits before 1.17)."""
    import onnx
    # onnxruntime 1.30 and newer report their use otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    proto = onnx.load(model)
    outputs = [each.name for each in proto.graph.output]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(more_outputs))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - onnxruntime raises errors of many classes.
        return None
    return OpenedModel(session, outputs)
