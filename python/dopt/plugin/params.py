"""quant_params.json (src/config/quant-params.ts) of a network that was trained."""

from typing import Any, Dict, List, Tuple

import numpy as np

from dopt.plugin.numbers import LayerNumbers, Network, Quantizer

#: A layer's quantized bias is named after the layer.
BIAS_SUFFIX = "/bias"


def quant_params(
    network: Network,
    activations: List[Tuple[str, Quantizer]],
    axes: Dict[str, int],
    graph: Dict[str, Any],
    float_nodes: List[Dict[str, Any]],
) -> Dict[str, Any]:
    """The parameter file. ``activations`` by tensor, ``axes`` of weights as the graph stores them, from the edits."""
    producers = {output: node["name"] for node in graph["nodes"] for output in node["outputs"]}
    weights = {node["name"]: node["inputs"][1] for node in graph["nodes"] if len(node["inputs"]) > 1}
    tensors = [_activation(tensor, quantizer, producers) for tensor, quantizer in activations]
    for layer in network.layers:
        tensors += _layer(layer, weights[layer.name], axes[layer.name])
    return {
        "version": 1,
        "model": network.name,
        "strategy": network.widths,
        "target": network.target,
        "tensors": tensors,
        "float_nodes": [{key: node[key] for key in ("node", "op", "reason")} for node in float_nodes],
    }


def _activation(tensor: str, quantizer: Quantizer, producers: Dict[str, str]) -> Dict[str, Any]:
    grid = quantizer.grid
    return {
        "name": tensor,
        "kind": "activation",
        "node": producers.get(tensor.split("#")[0]),
        "bits": grid.bits,
        "signed": grid.signed,
        "symmetric": grid.symmetric,
        "granularity": "tensor",
        "axis": None,
        "scale": [quantizer.scale],
        "zero_point": [quantizer.zero_point],
        "range_seen": None if quantizer.seen is None else list(quantizer.seen),
        "rule": quantizer.rule,
    }


def _layer(layer: LayerNumbers, tensor: str, axis: int) -> List[Dict[str, Any]]:
    scales = [float(scale) for scale in layer.scales]
    one = len(scales) == 1
    weight = {
        "name": tensor,
        "kind": "weight",
        "node": layer.name,
        "bits": layer.bits,
        "signed": True,
        "symmetric": True,
        "granularity": "tensor" if one else "channel",
        "axis": None if one else axis,
        "scale": scales,
        "zero_point": [0] * len(scales),
        "range_seen": list(layer.seen),
        "rule": "trained",
    }
    if layer.bias is None:
        return [weight]
    products = layer.bias_scales()
    values = layer.bias * products.astype(np.float64)
    bias = {
        **weight,
        "name": f"{layer.name}{BIAS_SUFFIX}",
        "kind": "bias",
        "bits": 32,
        "axis": None if one else 0,
        "scale": [float(scale) for scale in products],
        "zero_point": [0] * len(products),
        "range_seen": [float(values.min()), float(values.max())],
        "rule": "input scale times weight scale",
    }
    return [weight, bias]
