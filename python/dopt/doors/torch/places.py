"""Where a network reads the tensors that quantization rounds: at a layer module's input, or in a call of a function."""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set

#: Largest difference, relative to the largest value, at which a call's factor is taken for a tensor of the graph.
_SAME = 1e-3


class Places(NamedTuple):
    """How the input of modules is rounded, by name; how the two factors of calls are, by name; what neither reaches."""

    inputs: Dict[str, Dict[str, Any]]
    calls: Dict[str, List[Optional[Dict[str, Any]]]]
    unmapped: List[Dict[str, str]]


class _Read(NamedTuple):
    """An input of a node that reads a rounded tensor."""

    tensor: str
    node: str
    index: int
    rounding: Dict[str, Any]


def find_places(network: Any, params: Dict[str, Any], plan: Dict[str, Any], numbers: Any, module_of: Dict[str, str]) -> Places:
    """The places of the activations of write-back.json.

    ``module_of``: layer -> the module that holds its weight. A convolution or linear module rounds its input; what other
    code multiplies is found by running network and graph on the same input and comparing the factors.
    """
    from dopt.doors.torch.calls import recorded_factors

    feeds = _feeds(network, params)
    recorded = recorded_factors(network, feeds)
    layers = _called_layers(network, recorded)
    by_module: Dict[str, List[_Read]] = {}
    others: List[_Read] = []
    for activation in plan["activations"]:
        for reader in activation["readers"]:
            read = _Read(activation["tensor"], reader["node"], reader["index"], _rounding(activation, numbers))
            module = module_of.get(read.node)
            (by_module.setdefault(module, []) if module in layers else others).append(read)
    inputs: Dict[str, Dict[str, Any]] = {}
    for module, reads in by_module.items():
        # A module that is used on different inputs has no rounding of its own, but its calls have.
        if all(read.rounding == reads[0].rounding for read in reads):
            inputs[module] = reads[0].rounding
        else:
            others += reads
    calls, found = _find_calls(recorded, params["onnx"], feeds, others)
    return Places(inputs, calls, _unmapped([read for read in others if read not in found]))


def _rounding(activation: Dict[str, Any], numbers: Any) -> Dict[str, Any]:
    tensor = activation["tensor"]
    return {
        "scale": [float(each) for each in numbers[tensor + "/scale"]],
        "zero_point": [int(each) for each in numbers[tensor + "/zero_point"]],
        "bits": activation["bits"],
        "signed": activation["signed"],
        "axis": activation["axis"],
    }


def _called_layers(network: Any, calls: Iterable[str]) -> Set[str]:
    """Modules whose forward() multiplies their input, padded at most, with their weight, and which the network runs.

    Attention keeps its last matrix in a Linear that it never calls.
    """
    import torch

    kinds = (torch.nn.modules.conv._ConvNd, torch.nn.Linear)  # noqa: SLF001
    running = {call.rsplit("/", 2)[0] for call in calls}
    return {name for name, module in network.named_modules() if isinstance(module, kinds) and name in running}


def _find_calls(recorded: Dict[str, List[Any]], graph: str, feeds: Dict[str, Any], reads: List[_Read]) -> Any:
    """Rounding of calls, and the reads that were found in them. Both go through their products in the same order."""
    wanted: Dict[str, List[_Read]] = {}
    for read in reads:
        wanted.setdefault(read.node, []).append(read)
    calls: Dict[str, List[Optional[Dict[str, Any]]]] = {}
    found: List[_Read] = []
    left = dict(recorded)
    for node, values in _graph_factors(graph, set(wanted), feeds).items() if wanted else ():
        call = next((name for name, factors in left.items() if all(map(_same, factors, values))), None)
        if call is None:
            continue
        del left[call]
        calls[call] = [None, None]
        for read in wanted[node]:
            calls[call][read.index] = read.rounding
            found.append(read)
    return calls, found


def _feeds(network: Any, params: Dict[str, Any]) -> Dict[str, Any]:
    from dopt.doors.torch.border import input_specs
    from dopt.doors.torch.runner import random_feeds, with_dtypes

    specs = input_specs(network, params["model"], params["inputShapes"])
    return random_feeds(with_dtypes(network, specs, params["model"])[0], 7, None, 1.0)


def _graph_factors(path: str, nodes: Set[str], feeds: Dict[str, Any]) -> Dict[str, List[Any]]:
    """The two factors of each of some nodes of float.onnx, in the order of computation."""
    import onnx
    from dopt.capture.runner import Session
    from onnx import numpy_helper

    model = onnx.load(path)
    factors = {node.name: list(node.input[:2]) for node in model.graph.node if node.name in nodes}
    values = dict(feeds)
    names = {name for pair in factors.values() for name in pair}
    values.update((each.name, numpy_helper.to_array(each)) for each in model.graph.initializer if each.name in names)
    computed = sorted(names - set(values))
    if computed:
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed)
        values.update(zip(computed, Session(model.SerializeToString()).run(computed, feeds)))
    return {node: [values[name] for name in pair] for node, pair in factors.items()}


def _same(factor: Any, value: Any) -> bool:
    """Equal but for the order of summation; the exporter transposes the matrices of linear layers."""
    import numpy as np

    limit = _SAME * max(float(np.abs(value).max(initial=0.0)), 1e-30)
    ways = [factor, factor.T] if factor.ndim == 2 else [factor]
    return any(way.shape == value.shape and float(np.abs(way - value).max(initial=0.0)) <= limit for way in ways)


def _unmapped(reads: List[_Read]) -> List[Dict[str, str]]:
    reason = "it is read by {}, which is neither a layer module nor one product of the network"
    first = {read.tensor: read for read in reversed(reads)}
    return [{"tensor": tensor, "reason": reason.format(read.node)} for tensor, read in first.items()]
