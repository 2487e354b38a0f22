"""A frozen graph as ONNX by tf2onnx, batch normalization kept."""

import contextlib
import itertools
import os
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set

from dopt.doors.tensorflow.prepare import prepare
from dopt.errors import DoptError, in_a_line

OPSET = 13


def convert_graph(
    graph_def: Any,
    path: str,
    inputs: List[str],
    outputs: List[str],
    shapes: Dict[str, List[Optional[int]]],
    names: Dict[str, str],
    channels_first: Sequence[str] = (),
) -> Any:
    """A ModelProto; ``names``: what tensors of TensorFlow are called in it; ``channels_first``: those inputs and outputs
    that have their channels last here and shall have them first there.

    Raises DoptError MODEL_CONVERT (external) with what tf2onnx says.
    """
    import tf2onnx

    try:
        return _convert(graph_def, inputs, outputs, shapes, names, channels_first)
    except Exception as error:  # noqa: BLE001 - tf2onnx raises many types.
        raise DoptError(
            "MODEL_CONVERT",
            f"tf2onnx {tf2onnx.__version__} cannot convert {path}: {in_a_line(error, 400)}",
            kind="external",
            place=path,
            suggestions=[
                "Cut the graph before what it cannot express (control flow, detection postprocessing): --outputs NAME",
                "Freeze the model for inference, without training parts.",
            ],
        ) from error


def _convert(
    graph_def: Any,
    inputs: List[str],
    outputs: List[str],
    shapes: Dict[str, List[Optional[int]]],
    names: Dict[str, str],
    channels_first: Sequence[str],
) -> Any:
    import tensorflow as tf
    from tf2onnx import optimizer
    from tf2onnx.tfonnx import process_tf_graph

    prepared = prepare(graph_def, inputs, outputs, shapes)
    # An open batch is what the graph says itself; only sizes that are all known are put over it.
    override = {name: shape for name, shape in shapes.items() if None not in shape}

    def process() -> Any:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(prepared, name="")
            return process_tf_graph(
                graph,
                continue_on_error=True,
                opset=OPSET,
                custom_op_handlers={"Select": (_select, []), "SelectV2": (_select, [])},
                shape_override=override,
                input_names=list(inputs),
                output_names=list(outputs),
                tensors_to_rename=names,
                inputs_as_nchw=[name for name in inputs if name in channels_first],
                outputs_as_nchw=[name for name in outputs if name in channels_first],
            )

    # Einsum stays for capture, which knows it better; this optimizer also puts addresses of memory into names.
    optimizers = {name: each for name, each in optimizer._get_optimizers().items() if name != "einsum_optimizer"}  # noqa: SLF001
    with keep_batch_norm(), numbered_nodes(), tf.device("/cpu:0"):
        try:
            optimized = optimizer.optimize_graph(process(), catch_errors=False, optimizers=optimizers)
        except Exception:  # noqa: BLE001
            # One of the optimizers fails on this graph. Undoing it alone takes a copy of the graph before each of them.
            optimized = optimizer.optimize_graph(process(), catch_errors=True, optimizers=optimizers)
        model = optimized.make_model("network")
    _name_open_sizes(model.graph, [names[name] for name in inputs])
    return model


def _select(graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """tf.where as Where. tf2onnx writes a sum of products with zero and one, in which infinities and what is no number spread from the
    side that was not chosen."""
    from tf2onnx.onnx_opset.controlflow import Select

    node.set_attr("handles_nan", True)
    Select.version_9(graph, node)


@contextlib.contextmanager
def numbered_nodes() -> Iterator[None]:
    """Sets of nodes have the same order in every process.

    tf2onnx goes through sets of its nodes and counts the names that it makes up. Python orders objects in a set by their
    address in memory, which other packages, folders and containers move: the same graph, another file.
    """
    from tf2onnx import utils
    from tf2onnx.graph import Node

    make, own_hash = Node.__init__, Node.__hash__
    numbers = itertools.count(1)

    def numbered(self: Any, *args: Any, **more: Any) -> None:
        self.dopt_number = next(numbers)
        make(self, *args, **more)

    Node.__init__, Node.__hash__, utils.INTERNAL_NAME = numbered, lambda self: self.dopt_number, 1
    try:
        yield
    finally:
        Node.__init__, Node.__hash__ = make, own_hash


def _name_open_sizes(graph: Any, inputs: List[str]) -> None:
    """An open batch is called so; what tf2onnx calls ``unk__7`` elsewhere has no name."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.dim_param:
                continue
            if place == 0 and value.name in inputs:
                dim.dim_param = "batch"
            else:
                dim.ClearField("value")


@contextlib.contextmanager
def keep_batch_norm() -> Iterator[None]:
    """tf2onnx folds batch normalization into convolutions; the plan does that itself, and needs to see it."""
    from tf2onnx.optimizer import back_to_back_optimizer

    table = back_to_back_optimizer._func_map  # noqa: SLF001 - there is no switch for it.
    taken = {key: table.pop(key) for key in list(table) if key == ("Conv", "BatchNormalization")}
    try:
        yield
    finally:
        table.update(taken)


def unknown_operators(model: Any) -> Set[str]:
    """Types of nodes that are none of ONNX's: tf2onnx leaves TensorFlow operators that it does not know as they are."""
    from onnx import defs

    domains = {entry.domain or "": entry.version for entry in model.opset_import}
    found = set()
    for node in _all_nodes(model.graph):
        if node.domain in ("", "ai.onnx"):
            try:
                defs.get_schema(node.op_type, domains.get("", OPSET), "")
            except defs.SchemaError:
                found.add(node.op_type)
        elif node.domain != "com.microsoft":
            found.add(node.op_type)
    return found


def _all_nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all_nodes(attribute.g)
            for inner in attribute.graphs:
                yield from _all_nodes(inner)


def save(model: Any, out: str) -> str:
    """Writes ``out``/model.onnx."""
    import onnx

    target = os.path.join(out, "model.onnx")
    onnx.save(model, target)
    return target
