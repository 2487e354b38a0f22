"""Types and shapes of every tensor, by onnx's own inference on a model without its large weights."""

from typing import Any, Dict, Optional

from dopt.capture.network import Network, TensorType, Weight, light_model, make_tensor, make_value, value_type
from dopt.capture.symbols import MADE_UP, recover_symbols


def remember_stated_types(network: Network) -> None:
    """Takes the types that the file states out of the graph, to fall back on where inference finds nothing."""
    for value in network.graph.value_info:
        found = value_type(value)
        if found is not None:
            network.stated[value.name] = found
    del network.graph.value_info[:]


def infer_types(network: Network) -> Dict[str, TensorType]:
    """Types of inputs, weights and every tensor that inference or the file itself knows."""
    types = {name: TensorType(weight.type, weight.array.shape) for name, weight in network.weights.items()}
    for value in network.graph.input:
        found = value_type(value)
        if found is not None:
            types[value.name] = found
    inferred = _with_symbols(network, infer(network))
    for name, found in {**network.stated, **inferred}.items():
        types.setdefault(name, found)
    for value in network.graph.output:
        found = value_type(value)
        if found is not None and found.type and (value.name not in types or types[value.name].shape is None):
            types[value.name] = found
    return types


def infer(
    network: Network, sizes: Optional[Dict[str, int]] = None, values: Optional[Dict[str, Weight]] = None
) -> Dict[str, TensorType]:
    """What onnx infers of inputs, tensors and outputs; symbols of ``sizes`` are numbers in the inputs, tensors of ``values`` constants."""
    import onnx

    model = light_model(network)
    if values:
        kept = [node for node in model.graph.node if node.output[0] not in values]
        del model.graph.node[:]
        model.graph.node.extend(kept)
        model.graph.initializer.extend(make_tensor(name, value) for name, value in values.items())
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if sizes and dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    # A stated output shape may be older than the input shape asked for: let inference speak.
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in network.output_names())
    try:
        model = onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=False, data_prop=True)
    except Exception:  # noqa: BLE001 - inference is a help: operators it cannot handle leave their outputs untyped.
        try:
            model = onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=False, data_prop=False)
        except Exception:  # noqa: BLE001
            return {}
    found = {}
    for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]:
        tensor = value_type(value)
        if tensor is not None:
            found[value.name] = tensor
    return found


def _with_symbols(network: Network, found: Dict[str, TensorType]) -> Dict[str, TensorType]:
    """Symbols of the inputs in the place of those that inference made up for them."""
    symbols = recover_symbols(network, found)
    return {name: _resolve(tensor, symbols) for name, tensor in found.items()}


def _resolve(tensor: TensorType, symbols: Dict[str, Any]) -> TensorType:
    """Replaces symbols that inference made up by what they stand for, or None."""
    if tensor.shape is None:
        return tensor
    sizes = (symbols.get(s) if isinstance(s, str) and s.startswith(MADE_UP) else s for s in tensor.shape)
    return TensorType(tensor.type, tuple(sizes))


def write_types(network: Network, types: Dict[str, TensorType]) -> None:
    """Puts the types of intermediate tensors and outputs into the graph."""
    outputs = set(network.output_names())
    del network.graph.value_info[:]
    for node in network.nodes:
        for name in node.output:
            if name in types and name not in outputs:
                network.graph.value_info.append(make_value(name, types[name]))
    for value in network.graph.output:
        if value.name in types:
            value.CopyFrom(make_value(value.name, types[value.name]))


def typed_model(network: Network) -> Any:
    """The light model with inferred types, for the parts of onnx that want to know ranks."""
    types = infer_types(network)
    model = light_model(network)
    outputs = set(network.output_names())
    produced = {name for node in network.nodes for name in node.output}
    for name, found in types.items():
        if name in produced and name not in outputs:
            model.graph.value_info.append(make_value(name, found))
    for value in model.graph.output:
        if value.name in types:
            value.CopyFrom(make_value(value.name, types[value.name]))
    return model
