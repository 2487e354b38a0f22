"""Rewrites that change how a graph is written down and not what it computes: names, order, constants, dead parts."""

from difflib import get_close_matches
from typing import Any, Dict, List, Sequence, Set, Tuple

from dopt.capture.network import (
    FLOAT,
    INT64,
    STRING,
    Network,
    Weight,
    attribute,
    make_value,
    reads,
    rename_reads,
    unique_name,
)
from dopt.capture.tensors import ExternalFiles, to_weight


def drop_initializer_inputs(network: Network) -> None:
    """Graph inputs that are initializers (required up to IR 3) stop being inputs."""
    kept = [value for value in network.graph.input if value.name not in network.weights]
    dropped = len(network.graph.input) - len(kept)
    if dropped:
        kept = [make_value_copy(value) for value in kept]
        del network.graph.input[:]
        network.graph.input.extend(kept)
        network.notes.append(f"{dropped} initializers were listed as graph inputs as well; they are constants now.")


def make_value_copy(value: Any) -> Any:
    """A copy of a ValueInfoProto that outlives its place in a list."""
    twin = type(value)()
    twin.CopyFrom(value)
    return twin


def constants_to_weights(network: Network) -> None:
    """Constant nodes of the main graph become initializers of the same name."""
    import numpy as np

    files = ExternalFiles(network.path)
    kept, outputs = [], set(network.output_names())
    for node in network.nodes:
        if node.op_type != "Constant" or node.domain or len(node.output) != 1 or node.output[0] in outputs:
            kept.append(node)
            continue
        held = {item.name: item for item in node.attribute}
        if "value" in held:
            weight = to_weight(held["value"].t, files)
        elif "value_float" in held:
            weight = Weight(FLOAT, np.array(held["value_float"].f, np.float32))
        elif "value_int" in held:
            weight = Weight(INT64, np.array(held["value_int"].i, np.int64))
        elif "value_floats" in held:
            weight = Weight(FLOAT, np.array(held["value_floats"].floats, np.float32))
        elif "value_ints" in held:
            weight = Weight(INT64, np.array(held["value_ints"].ints, np.int64))
        elif "value_string" in held:
            weight = Weight(STRING, np.array(held["value_string"].s, object))
        elif "value_strings" in held:
            weight = Weight(STRING, np.array(list(held["value_strings"].strings), object))
        else:
            kept.append(node)
            continue
        if node.output[0] in network.weights:
            raise network.error("MODEL_INVALID", f"tensor {node.output[0]!r} is defined twice.")
        network.weights[node.output[0]] = weight
    if len(kept) < len(network.nodes):
        network.replace_nodes(kept)


def name_nodes(network: Network) -> Tuple[int, int]:
    """Gives every node a name of its own: existing ones stay, unnamed ones become ``<Op>_<index>``.

    Returns how many had no name, and how many shared one with another node.
    """
    taken = {node.name for node in network.nodes if node.name}
    seen: Set[str] = set()
    unnamed = repeated = 0
    for index, node in enumerate(network.nodes):
        if not node.name:
            node.name = unique_name(f"{node.op_type}_{index}", taken)
            unnamed += 1
        elif node.name in seen:
            node.name = unique_name(node.name, taken)
            repeated += 1
        seen.add(node.name)
    return unnamed, repeated


def sort_nodes(network: Network) -> None:
    """Stable topological order. Raises DoptError MODEL_INVALID for a loop or a tensor that nothing produces."""
    producers: Dict[str, int] = {}
    for index, node in enumerate(network.nodes):
        for name in node.output:
            if name and (name in producers or name in network.weights or name in network.input_names()):
                raise network.error("MODEL_INVALID", f"tensor {name!r} is defined twice (node {node.name!r}).")
            if name:
                producers[name] = index
    known = set(network.weights) | set(network.input_names())
    for node in network.nodes:
        missing = [name for name in reads(node) if name not in producers and name not in known]
        if missing:
            raise network.error("MODEL_INVALID", f"node {node.name!r} reads {missing[0]!r}, which nothing produces.")
    for name in network.output_names():
        if name not in producers and name not in known:
            raise network.error("MODEL_INVALID", f"nothing produces the graph output {name!r}.")
    order = topological_order(network.nodes)
    if order is None:
        raise network.error("MODEL_INVALID", "the graph has a loop.")
    if order != list(range(len(order))):
        network.replace_nodes([network.nodes[index] for index in order])


def topological_order(nodes: Sequence[Any]) -> Any:
    """Indices of ``nodes`` so that producers come first and everything else stays in place; None for a loop."""
    import heapq

    producers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    waiting: List[int] = []
    readers: Dict[int, List[int]] = {}
    for index, node in enumerate(nodes):
        needed = {producers[name] for name in reads(node) if name in producers}
        waiting.append(len(needed))
        for producer in needed:
            readers.setdefault(producer, []).append(index)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers.get(index, []):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    return order if len(order) == len(nodes) else None


def drop_dead(network: Network) -> None:
    """Drops nodes whose outputs nothing needs, and weights that nothing reads."""
    needed = set(network.output_names())
    kept = []
    for node in reversed(network.nodes):
        if any(name in needed for name in node.output):
            needed.update(reads(node))
            kept.append(node)
    if len(kept) < len(network.nodes):
        network.replace_nodes(kept[::-1])
    network.weights = {name: weight for name, weight in network.weights.items() if name in needed}


def drop_identities(network: Network) -> None:
    """Removes Identity and inference-mode Dropout nodes; graph outputs keep their names."""
    renamed: Dict[str, str] = {}
    outputs, inputs = set(network.output_names()), set(network.input_names())
    producers = {name: node for node in network.nodes for name in node.output if name}
    read_elsewhere: Set[str] = {name for node in network.nodes for name in reads(node)}
    kept = []
    for node in network.nodes:
        rename_reads([node], renamed)
        if not _passes_through(network, node, outputs | read_elsewhere):
            kept.append(node)
            continue
        source, target = node.input[0], node.output[0]
        if target not in outputs:
            renamed[target] = source
        elif source in network.weights or source in inputs or source in outputs:
            kept.append(node)
        else:
            # The output's name moves to the producer; whoever read the old name reads the new one.
            producer = producers[source]
            producer.output[list(producer.output).index(source)] = target
            producers[target] = producer
            renamed[source] = target
            rename_reads(kept, {source: target})
            renamed = {old: target if new == source else new for old, new in renamed.items()}
    if len(kept) < len(network.nodes):
        network.replace_nodes(kept)


def _passes_through(network: Network, node: Any, needed: Set[str]) -> bool:
    if node.domain or not node.input or not node.input[0]:
        return False
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or (len(node.output) > 1 and node.output[1] in needed):
        return False
    training = node.input[2] if len(node.input) > 2 else ""
    if training and training not in network.weights:
        return False
    return not training or not bool(network.weights[training].array.any())


def cut_outputs(network: Network, names: Sequence[str]) -> None:
    """Makes the named tensors the graph outputs, in that order. Raises DoptError OUTPUT_UNKNOWN."""
    known = [name for node in network.nodes for name in node.output if name]
    produced = set(known)
    declared = {value.name: value for value in network.graph.output}
    values = []
    for name in names:
        if name not in produced:
            nodes = [f"{node.output[0]}" for node in network.nodes if node.name == name and node.output]
            near = nodes or get_close_matches(name, known, n=3, cutoff=0.5)
            raise network.error(
                "OUTPUT_UNKNOWN",
                f"no node produces a tensor called {name!r}, so the graph cannot be cut there.",
                [f"Did you mean {other!r}?" for other in near] or ["List the tensors with `dopt inspect`."],
            )
        value = make_value_copy(declared[name]) if name in declared else make_value(name, None)
        if not any(other.name == name for other in values):
            values.append(value)
    del network.graph.output[:]
    network.graph.output.extend(values)
    before = len(network.nodes)
    drop_dead(network)
    network.notes.append(f"Cut at {', '.join(names)}: {len(network.nodes)} of {before} nodes are left.")


def apply_input_shapes(network: Network, shapes: Dict[str, Sequence[int]]) -> None:
    """Writes fixed shapes into graph inputs. Raises DoptError INPUT_UNKNOWN or INPUT_SHAPE."""
    inputs = {value.name: value for value in network.graph.input}
    for name, shape in shapes.items():
        if name not in inputs:
            near = get_close_matches(name, list(inputs), n=3, cutoff=0.4) or sorted(inputs)
            raise network.error(
                "INPUT_UNKNOWN", f"the model has no input called {name!r}.", [f"Did you mean {other!r}?" for other in near]
            )
        tensor = inputs[name].type.tensor_type
        declared = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        if tensor.HasField("shape"):
            fits = len(declared) == len(shape) and all(d is None or d <= 0 or d == s for d, s in zip(declared, shape))
            if not fits:
                text = "x".join("?" if size is None or size <= 0 else str(size) for size in declared)
                raise network.error(
                    "INPUT_SHAPE",
                    f"input {name!r} is {text} and cannot take {'x'.join(map(str, shape))}.",
                    ["Only sizes that the model leaves open (?) can be fixed; export it again with other sizes."],
                )
        inputs[name].CopyFrom(_with_shape(inputs[name], shape))
    if shapes:
        network.stated.clear()
        del network.graph.value_info[:]
        for value in network.graph.output:
            value.type.tensor_type.ClearField("shape")


def name_open_sizes(network: Network) -> None:
    """Gives every size that an input leaves open (absent, 0 or -1) a symbol, so that inference can carry it along."""
    for value in network.graph.input:
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.dim_param and dim.dim_value <= 0:
                dim.dim_param = f"{value.name}_size_{index}"


def _with_shape(value: Any, shape: Sequence[int]) -> Any:
    twin = make_value_copy(value)
    del twin.type.tensor_type.shape.dim[:]
    for size in shape:
        twin.type.tensor_type.shape.dim.add(dim_value=size)
    return twin


def fix_resizes(network: Network) -> None:
    """Resize with sizes takes no scales: an empty scales tensor becomes an omitted input.

    onnx's converter reads an empty ``scales`` beside ``sizes`` as the scales to use and fails on it.
    """
    for node in network.nodes:
        if node.op_type != "Resize" or node.domain or len(node.input) < 3:
            continue
        has_sizes = len(node.input) > 3 and node.input[3] != ""
        for index in ((2, 1) if has_sizes else (1,)):
            weight = network.weights.get(node.input[index])
            if weight is not None and weight.array.size == 0 and network.opset >= 11 and (index == 2 or network.opset >= 13):
                node.input[index] = ""
    for node in network.nodes:
        roi = attribute(node, "coordinate_transformation_mode") if node.op_type == "Resize" else None
        if roi is not None and roi.s != b"tf_crop_and_resize" and len(node.input) > 1 and network.opset >= 13:
            node.input[1] = ""
