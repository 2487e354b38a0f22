"""Method ``capture`` for ONNX files: one normalized, typed, checked graph whatever the exporter wrote."""

import os
import tempfile
from typing import Any, Dict

from dopt.capture import float16, normalize, opset, parity, patterns, products, transposes
from dopt.capture.fold import simplify
from dopt.capture.load import load
from dopt.capture.network import LOWEST_IR, Network
from dopt.capture.open_sizes import measure_open_sizes
from dopt.capture.sanity import check_numbers
from dopt.capture.save import save
from dopt.capture.shapes import remember_stated_types
from dopt.capture.subnormal import flush_subnormals
from dopt.isolation import run_isolated


def capture(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Reads ``params.model`` and writes graph.json, float.onnx and weights.safetensors into ``params.out``.

    Parameters and result: METHODS.capture in src/bridge/protocol.ts; ``irVersion`` is that of the original file.
    Raises DoptError for every fault of the file (kind user), for a full disk (environment) and CAPTURE_PARITY
    (external) when the captured model does not compute what the original computes, or MODEL_CRASHED when native code
    broke down on the file.
    """
    # Imported here, once, and not by every child.
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401

    events.progress(0, 5, "reading the model")
    network, source = load(params["model"])
    _tidy(network)
    with tempfile.TemporaryDirectory(prefix="dopt-capture-") as scratch:
        result = run_isolated(lambda inner: _capture(network, params, scratch, inner), events, params["model"])
    return {**result, "source": source}


def _tidy(network: Network) -> None:
    """What can be checked and put in order without native code."""
    check_numbers(network)
    remember_stated_types(network)
    unnamed, repeated = normalize.name_nodes(network)
    if unnamed or repeated:
        network.notes.append(f"{unnamed} nodes had no name and {repeated} shared one; each has a name of its own now.")
    normalize.drop_initializer_inputs(network)
    normalize.constants_to_weights(network)
    normalize.sort_nodes(network)


def _capture(network: Network, params: Dict[str, Any], scratch: str, events: Any) -> Dict[str, Any]:
    """Everything that runs native code on the model."""
    events.progress(1, 5, "checking the model")
    ir_version, opset_from, declared = network.model.ir_version, network.opset, network.output_names()
    if network.opset > opset.HIGHEST:
        opset.convert(network)
    opset.check(network)

    events.progress(2, 5, "converting")
    _convert(network, params)

    events.progress(3, 5, "folding constants")
    node_count = len(network.nodes)
    types = simplify(network)
    if len(network.nodes) != node_count:
        network.notes.append(f"Folding constants turned {node_count} nodes into {len(network.nodes)}.")
    types = products.rewrite_products(network, types)
    patterns.recognize(network)
    if transposes.settle_transposes(network):
        types = simplify(network)
        patterns.recognize(network)
    normalize.drop_dead(network)
    normalize.sort_nodes(network)
    flush_subnormals(network)
    opset.check(network)
    types = measure_open_sizes(network, types)
    files = save(network, types, os.path.abspath(params["out"]))

    events.progress(4, 5, "comparing with the original")
    compared = parity.check_parity(network, declared, files["model"], scratch, params["seed"])
    events.progress(5, 5, "captured")
    return {
        **files,
        "opset": {"from": opset_from, "to": network.opset},
        "irVersion": ir_version,
        "notes": network.notes,
        "parity": compared,
    }


def _convert(network: Network, params: Dict[str, Any]) -> None:
    """Carries out what was asked of the model, then brings it to opset 13 or above."""
    normalize.fix_resizes(network)
    normalize.apply_input_shapes(network, params["inputShapes"])
    if params["outputs"] is not None:
        normalize.cut_outputs(network, params["outputs"])
    float16.to_float32(network, params["float16ToFloat32"])
    normalize.name_open_sizes(network)
    normalize.drop_dead(network)
    if network.opset < opset.LOWEST:
        # Shapes that are known before let the converter see ranks, and keep it from writing shape arithmetic.
        simplify(network)
        opset.convert(network)
    network.model.ir_version = max(network.model.ir_version, LOWEST_IR)
    normalize.fix_resizes(network)
    normalize.constants_to_weights(network)
    normalize.name_nodes(network)
