"""Method ``capture`` for ONNX files: one normalized, typed, checked graph whatever the exporter wrote."""

import os
from typing import Any, Dict

from dopt.capture import float16, normalize, opset, parity
from dopt.capture.fold import simplify
from dopt.capture.load import load
from dopt.capture.save import save
from dopt.capture.shapes import remember_stated_types


def capture(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Reads ``params.model`` and writes graph.json, float.onnx and weights.safetensors into ``params.out``.

    Parameters and result: METHODS.capture in src/bridge/protocol.ts; ``irVersion`` is that of the original file.
    Raises DoptError for every fault of the file (kind user), for a full disk (environment) and CAPTURE_PARITY
    (external) when the captured model does not compute what the original computes.
    """
    events.progress(0, 5, "reading the model")
    network, source = load(params["model"])
    ir_version, opset_from = network.model.ir_version, network.opset
    original = _skeleton(params["model"])

    events.progress(1, 5, "checking the model")
    remember_stated_types(network)
    normalize.name_nodes(network)
    normalize.drop_initializer_inputs(network)
    normalize.constants_to_weights(network)
    normalize.sort_nodes(network)
    normalize.fix_resizes(network)
    if network.opset > opset.HIGHEST:
        opset.convert(network)
    opset.check(network)

    events.progress(2, 5, "converting")
    normalize.apply_input_shapes(network, params["inputShapes"])
    if params["outputs"] is not None:
        normalize.cut_outputs(network, params["outputs"])
    float16.to_float32(network, params["float16ToFloat32"])
    normalize.drop_dead(network)
    opset.convert(network)
    normalize.fix_resizes(network)
    normalize.constants_to_weights(network)
    normalize.name_nodes(network)

    events.progress(3, 5, "folding constants")
    types = simplify(network)
    normalize.name_nodes(network)
    normalize.sort_nodes(network)
    opset.check(network)
    files = save(network, types, os.path.abspath(params["out"]))

    events.progress(4, 5, "comparing with the original")
    notes = network.notes
    compared = parity.check_parity(network, original, files["model"], params["seed"], notes)
    events.progress(5, 5, "captured")
    return {
        **files,
        "opset": {"from": opset_from, "to": network.opset},
        "irVersion": ir_version,
        "notes": notes,
        "parity": compared,
        "source": source,
    }


def _skeleton(path: str) -> Any:
    """The original as it was read, to be run beside the captured model."""
    import onnx

    return onnx.load(path, load_external_data=False)
