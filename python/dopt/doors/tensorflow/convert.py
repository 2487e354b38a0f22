"""A frozen graph as ONNX by tf2onnx, batch normalization kept."""

import contextlib
import os
from typing import Any, Dict, Iterator, List, Optional, Set

from dopt.errors import DoptError

OPSET = 13


def convert_graph(
    graph_def: Any, path: str, inputs: List[str], outputs: List[str], shapes: Dict[str, List[Optional[int]]]
) -> Any:
    """A ModelProto. Raises DoptError MODEL_CONVERT (external) with what tf2onnx says."""
    import tensorflow as tf
    import tf2onnx

    # An open batch is what the graph says itself; only sizes that are all known are put over it.
    override = {name: shape for name, shape in shapes.items() if None not in shape}
    try:
        with keep_batch_norm(), tf.device("/cpu:0"):
            model, _ = tf2onnx.convert.from_graph_def(
                graph_def, input_names=inputs, output_names=outputs, opset=OPSET, shape_override=override
            )
        return model
    except Exception as error:  # noqa: BLE001 - tf2onnx raises many types.
        raise DoptError(
            "MODEL_CONVERT",
            f"tf2onnx {tf2onnx.__version__} cannot convert {path}: {' '.join(str(error).split())[:400]}",
            kind="external",
            place=path,
            suggestions=[
                "Cut the graph before what it cannot express (control flow, detection postprocessing): --outputs NAME",
                "Freeze the model for inference, without training parts.",
            ],
        ) from error


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
