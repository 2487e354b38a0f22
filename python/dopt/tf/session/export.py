"""A trained graph as ONNX, .pb and parameter file: the integers written are those of the forward pass."""

import os
import time
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import tensorflow as tf

from dopt.errors import DoptError, in_a_line
from dopt.plugin.config import PluginConfig
from dopt.plugin.equality import Equality, judged, open_session
from dopt.plugin.folder import Origin
from dopt.plugin.near import near_matches
from dopt.plugin.numbers import LayerNumbers, Network
from dopt.plugin.refusals import uncalibrated
from dopt.tf.check import as_tensorflow, differing
from dopt.tf.frozen import Border, Frozen, Place, ReadTensor, TensorflowWritten, read_tensors, write_frozen
from dopt.tf.session.build import build, check_float
from dopt.tf.session.network import Plan, QuantizedOperator, RoundedTensor

#: Random inputs on which an exported model is compared with the graph.
CHECKED = 4


def write(
    sess: Any, config: PluginConfig, outputs: Sequence[str], checkpoint: str, out: str, name: str
) -> TensorflowWritten:
    """Writes the result folder of a float graph and the checkpoint of its quantized form; the graph stays as it is.

    Raises DoptError PLUGIN_QUANTIZED, PLUGIN_OUTPUTS, PLUGIN_CHECKPOINT, PLUGIN_NO_CALIBRATION, and those of the folder.
    """
    started = time.time()
    float_graph = check_float(sess)
    ends = [tensor_of(float_graph, output) for output in outputs]
    float_def = float_graph.as_graph_def()
    meta = tf.compat.v1.train.export_meta_graph(graph=float_graph)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as twin:
        tf.compat.v1.train.import_meta_graph(meta)
        plan = build(twin, config, False, 1)
        _restore(twin, plan, checkpoint)
        numbers, constants = _numbers(twin, plan)
        frozen = _freeze(twin, float_def, plan, ends, constants)
        quantizers = []
        for rounded in plan.rounded:
            quantizer = rounded.quantizer
            values = [*quantizer.grid_now(), quantizer.seen, *([quantizer.log_scale, quantizer.shift] if quantizer.learns else [])]
            scale, zero, seen, *learned = twin.run(values)
            quantizers.append(quantizer.numbers(scale, zero, seen, any(each != 0 for each in learned)))
        samples = max((int(each) for each in twin.run([each.quantizer.samples for each in plan.rounded])), default=0)
        described = Network(name, quantizers, [], [], plan.float_layers, plan.widths, plan.target)
        origin = Origin(_file_of(checkpoint), samples, {"tensorflow": tf.__version__}, [], started)
        return write_frozen(
            out, frozen, described, numbers, origin, lambda *found: _checked(twin, plan, frozen, *found)
        )


def tensor_of(graph: Any, name: str) -> str:
    """The name of a tensor of the graph, of an operator's first result where an operator is named. Raises DoptError PLUGIN_OUTPUTS."""
    name = name if ":" in name else f"{name}:0"
    try:
        graph.get_tensor_by_name(name)
    except (KeyError, ValueError) as error:
        near = near_matches(name.split(":")[0], [operator.name for operator in graph.get_operations()])
        raise DoptError(
            "PLUGIN_OUTPUTS",
            f"The graph has no tensor {name!r}.",
            found=name,
            suggestions=[f"Did you mean {' or '.join(near)}?" if near else "Name the nodes that the network ends with."],
        ) from error
    return name


def _file_of(checkpoint: str) -> str:
    """A file of the checkpoint, to be told in the record."""
    path = tf.train.latest_checkpoint(checkpoint) if os.path.isdir(checkpoint) else checkpoint
    return next(each for each in (f"{path}.index", str(path)) if os.path.exists(each))


def _restore(twin: Any, plan: Plan, checkpoint: str) -> None:
    """Loads a checkpoint strictly. Raises DoptError PLUGIN_CHECKPOINT saying what is missing or of another shape."""
    path = tf.train.latest_checkpoint(checkpoint) if os.path.isdir(checkpoint) else checkpoint
    try:
        stored = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise DoptError(
            "PLUGIN_CHECKPOINT",
            f"Cannot read the checkpoint {checkpoint}: {in_a_line(error, 200)}",
            place=checkpoint,
            suggestions=["Give the path that tf.compat.v1.train.Saver.save() returned."],
        ) from error
    variables = {variable.op.name: variable for variable in tf.compat.v1.global_variables()}
    variables = {name: each for name, each in variables.items() if name in stored or _matters(twin.graph, plan, each)}
    missing = [name for name in variables if name not in stored]
    shapes = [name for name, each in variables.items() if name in stored and list(each.shape) != list(stored[name])]
    if missing or shapes:
        said = "lacks" if missing else "has in other shapes"
        listed = ", ".join((missing or shapes)[:5])
        floats = missing and all(name.startswith("dopt/") for name in missing)
        hint = "This is the checkpoint of a float network: save the session after optimize_model(), with a Saver made then."
        raise DoptError(
            "PLUGIN_CHECKPOINT",
            f"{checkpoint} does not fit the quantized network: it {said} {listed}.",
            place=checkpoint,
            suggestions=[hint if floats else "Is it the checkpoint of another network, or of other settings?"],
        )
    tf.compat.v1.train.Saver(variables).restore(twin, path)
    scales = {each.quantizer.name: each.quantizer.scale0 for each in plan.rounded}
    unknown = [name for name, value in zip(scales, twin.run(list(scales.values()))) if not value > 0]
    if unknown:
        raise uncalibrated(unknown, "Calibrate before saving: set_calibrate_state(sess, True), batches, (sess, False); or train.")


def _matters(graph: Any, plan: Plan, variable: Any) -> bool:
    """Whether a layer's result depends on a variable: those of optimizers and counters do not."""
    if variable.op.name.startswith("dopt/"):
        return True
    names = {variable.op.name}
    weights = [each.weight for each in plan.operators if each.weight is not None]
    reached: set = set()
    waiting = [tensor.op for tensor in weights]
    while waiting:
        operator = waiting.pop()
        if operator.name not in reached:
            reached.add(operator.name)
            waiting += [tensor.op for tensor in operator.inputs]
    return bool(names & reached)


def _numbers(twin: Any, plan: Plan) -> Tuple[Dict[str, LayerNumbers], Dict[str, Tuple[Any, Any]]]:
    """Integers of every layer by name, and its float weight and bias with the batch normalization folded in."""
    numbers, constants = {}, {}
    for each in plan.operators:
        if each.grid is None or each.folded is None:
            continue
        folded, grid, input_scale = each.folded, each.grid, each.inputs[0].quantizer.scale()
        # Made anew: those of the forward pass wait for the network's input.
        now = grid.now(folded, input_scale)
        weight = each.weight * tf.reshape(folded.factor, grid.view)
        values = [grid.integers(each.weight, folded, now), weight, now.stretched, input_scale]
        if folded.bias is not None:
            values += [folded.bias, tf.round(folded.bias / now.bias_step)]
        integers, folded_weight, scales, scale, *biases = twin.run(values)
        path = each.layer.name.path
        constants[path] = (folded_weight, biases[0] if biases else None)
        numbers[path] = LayerNumbers(
            name=path,
            bits=grid.bits,
            integers=np.ascontiguousarray(grid.to_onnx(integers.astype(np.int8))),
            scales=scales,
            axis=grid.kind.onnx_axis,
            bias=biases[1].astype(np.int32) if biases else None,
            input_scale=float(scale),
            seen=(float(folded_weight.min()), float(folded_weight.max())),
        )
    return numbers, constants


def _freeze(
    twin: Any, float_def: Any, plan: Plan, ends: List[str], constants: Dict[str, Tuple[Any, Any]]
) -> Frozen:
    """The float graph with its variables as constants, batch normalization folded into the weights before it."""
    from dopt.doors.tensorflow.write_back.quantizers import const_node

    nodes = [end.split(":")[0] for end in ends]
    graph_def = tf.compat.v1.graph_util.convert_variables_to_constants(twin, float_def, nodes)
    by_name = {node.name: node for node in graph_def.node}
    kept = [each for each in plan.operators if each.layer.name.path in by_name]
    for each in kept:
        if each.grid is not None and each.folded is not None:
            _fold(graph_def, by_name, each, *constants[each.layer.name.path], const_node)
    for node in graph_def.node:
        if node.op == "PlaceholderWithDefault":
            node.op = "Identity"
            node.attr.pop("shape", None)
            node.attr["T"].type = node.attr.pop("dtype").type if "dtype" in node.attr else tf.float32.as_datatype_enum
    found = {name: shape for name, shape in plan.config.inputs.items() if name in by_name}
    missing = [node.name for node in graph_def.node if node.op == "Placeholder" and node.name not in found]
    if missing:
        raise DoptError(
            "PLUGIN_INPUTS",
            f"The outputs depend on {', '.join(missing)}, whose shape the settings do not give.",
            found=", ".join(missing),
            suggestions=["Build the network for inference (training=False), or name the placeholder in input_shape."],
        )
    names = ["output"] if len(ends) == 1 else [f"output{at}" for at in range(len(ends))]
    operators = [(each.layer.name.path, each) for each in kept]
    return Frozen(
        graph_def,
        [Border(f"{name}:0", name, shape) for name, shape in found.items()],
        [Border(end, name, ()) for end, name in zip(ends, names)],
        [(path, path, each.inputs[0].quantizer.name) for path, each in operators if each.grid is not None],
        [(path, path, [one.quantizer.name for one in each.inputs]) for path, each in operators if each.grid is None],
    )


def _fold(graph_def: Any, nodes: Dict[str, Any], each: QuantizedOperator, weight: Any, bias: Any, const_node: Any) -> None:
    """Gives a layer its folded weight, and in the place of its batch normalization a sum with the folded bias."""
    layer = each.layer
    node, norm = nodes[layer.name.path], layer.norm and nodes.get(layer.norm.name)
    if norm is None:
        return
    kernel = const_node(f"{layer.name.path}/folded_weight", weight)
    offset = const_node(f"{layer.name.path}/folded_bias", bias)
    graph_def.node.extend([kernel, offset])
    node.input[layer.weight] = kernel.name
    data_format = norm.attr["data_format"].s
    dtype = norm.attr["T"].type
    norm.op = "BiasAdd"
    norm.attr.clear()
    norm.attr["T"].type = dtype
    norm.attr["data_format"].s = data_format or b"NHWC"
    del norm.input[:]
    norm.input.extend([layer.name.path, offset.name])


def _checked(twin: Any, plan: Plan, frozen: Frozen, model: str, places: List[Place]) -> List[str]:
    hint = "Does the graph depend on values, or on the size of the batch?"
    return judged(compare(twin, plan, frozen, model, places), model, hint)


def compare(twin: Any, plan: Plan, frozen: Frozen, model: str, places: List[Place], batches: Any = None) -> Any:
    """Runs inputs through the quantized graph and onnxruntime, as dopt.tf.check does; None where the latter cannot.

    batches: lists of arrays in the order of ``frozen.inputs``; random ones when None.
    """
    read = read_tensors(model, places)
    tensors: Dict[str, Tuple[RoundedTensor, ReadTensor, str]] = {}
    for each in plan.operators:
        if each.layer.name.path not in read:
            continue
        for rounded, tensor, turned in zip(each.inputs, read[each.layer.name.path], _moves(each)):
            tensors.setdefault(rounded.read.name, (rounded, tensor, turned))
    opened = open_session(model, [f"{tensor.name}/quantized" for _, tensor, _ in tensors.values()])
    if opened is None:
        return None
    total, largest = [0, 0, 0, 0, 0], 0.0
    for feeds in batches or [_random(twin, plan, frozen, seed) for seed in range(CHECKED)]:
        values = opened.run([np.asarray(each) for each in feeds])
        fed = {border.tensor: each for border, each in zip(frozen.inputs, feeds)}
        (ours,) = twin.run([frozen.outputs[0].tensor], fed)
        theirs = values[opened.outputs[0]]
        ours, theirs = (np.asarray(each).reshape(len(ours) if np.ndim(ours) else 1, -1) for each in (ours, theirs))
        largest = max(largest, float(np.abs(ours - theirs).max(initial=0)))
        decided = int((ours.argmax(1) == theirs.argmax(1)).sum())
        counts = _differences(twin, fed, values, list(tensors.values()))
        total = [a + b for a, b in zip(total, (len(ours), *counts, decided))]
    return Equality(*total, largest)


def _moves(each: QuantizedOperator) -> List[str]:
    """How the axes of an operator's inputs differ in ONNX."""
    operator = each.layer.operator
    if "Conv" in operator.type:
        return ["channels" if operator.get_attr("data_format").decode().endswith("C") else ""]
    if each.grid is not None:
        return [""]
    names = ("transpose_a", "transpose_b") if operator.type == "MatMul" else ("adj_x", "adj_y")
    return ["last" if operator.get_attr(name) else "" for name in names]


def _differences(twin: Any, fed: Dict[str, Any], values: Dict[str, Any], tensors: List[Any]) -> List[int]:
    """Values compared, different ones, and those beyond ties; every quantizer hands onnxruntime's values on."""
    grids = twin.run([rounded.quantizer.grid_now() for rounded, _, _ in tensors])
    shapes = twin.run([tf.shape(rounded.source) for rounded, _, _ in tensors], fed)
    handed, integers = dict(fed), []
    for (rounded, tensor, moved), (scale, zero), shape in zip(tensors, grids, shapes):
        integers.append(as_tensorflow(values[f"{tensor.name}/quantized"], tensor, moved, shape, float(zero)))
        if integers[-1] is not None:
            handed[rounded.read] = (integers[-1] - zero) * scale
    found = twin.run([(rounded.source, rounded.own) for rounded, _, _ in tensors], handed)
    counts = [0, 0, 0]
    for (rounded, _, _), (source, own), theirs, (scale, zero) in zip(tensors, found, integers, grids):
        if theirs is None:
            continue
        ours = np.rint(own / scale) + zero
        for at, count in enumerate(differing(source, ours, theirs, float(scale), rounded.quantizer)):
            counts[at] += count
    return counts


def _random(twin: Any, plan: Plan, frozen: Frozen, seed: int) -> List[Any]:
    """Inputs of the deployment shapes, within what calibration saw where an input is rounded itself."""
    rng = np.random.default_rng(seed)
    seen = {each.source.op.inputs[0].name if each.source.op.type == "Cast" else each.source.name: each.quantizer.seen for each in plan.rounded}
    arrays = []
    for border in frozen.inputs:
        dtype = twin.graph.get_tensor_by_name(border.tensor).dtype
        if not dtype.is_floating:
            arrays.append(rng.integers(0, 2, border.shape).astype(dtype.as_numpy_dtype))
        elif border.tensor in seen:
            arrays.append(rng.uniform(*twin.run(seen[border.tensor]), border.shape).astype(np.float32))
        else:
            arrays.append(rng.standard_normal(border.shape).astype(np.float32))
    return arrays
