"""Method ``capture`` for ONNX files: one normalized, typed, checked graph whatever the exporter wrote."""

import os
from typing import Any, Dict

from dopt.capture import float16, normalize, opset, parity
from dopt.capture.fold import simplify
from dopt.capture.load import load
from dopt.capture.sanity import check_numbers
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
    declared = network.output_names()

    events.progress(1, 5, "checking the model")
    check_numbers(network)
    remember_stated_types(network)
    unnamed, repeated = normalize.name_nodes(network)
    if unnamed or repeated:
        network.notes.append(f"{unnamed} nodes had no name and {repeated} shared one; each has a name of its own now.")
    normalize.drop_initializer_inputs(network)
    normalize.constants_to_weights(network)
    normalize.sort_nodes(network)
    if network.opset > opset.HIGHEST:
        opset.convert(network)
    opset.check(network)
    normalize.fix_resizes(network)

    events.progress(2, 5, "converting")
    normalize.apply_input_shapes(network, params["inputShapes"])
    if params["outputs"] is not None:
        normalize.cut_outputs(network, params["outputs"])
    float16.to_float32(network, params["float16ToFloat32"])
    normalize.name_open_sizes(network)
    node_count = len(network.nodes)
    normalize.drop_dead(network)
    if network.opset < opset.LOWEST:
        # Shapes that are known before let the converter see ranks, and keep it from writing shape arithmetic.
        simplify(network)
        opset.convert(network)
    normalize.fix_resizes(network)
    normalize.constants_to_weights(network)
    normalize.name_nodes(network)

    events.progress(3, 5, "folding constants")
    types = simplify(network)
    if len(network.nodes) != node_count:
        network.notes.append(f"Folding constants turned {node_count} nodes into {len(network.nodes)}.")
    normalize.sort_nodes(network)
    opset.check(network)
    files = save(network, types, os.path.abspath(params["out"]))

    events.progress(4, 5, "comparing with the original")
    compared = parity.check_parity(network, declared, files["model"], params["seed"])
    events.progress(5, 5, "captured")
    return {
        **files,
        "opset": {"from": opset_from, "to": network.opset},
        "irVersion": ir_version,
        "notes": network.notes,
        "parity": compared,
        "source": source,
    }

