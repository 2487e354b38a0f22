"""Distillation in a session's graph: a copy of the float graph with its weights as constants, beside the quantized one."""

from typing import Any, Dict, List, Sequence

import tensorflow as tf

from dopt.errors import DoptError, in_a_line
from dopt.plugin.blocks import block_ends
from dopt.tf.distill import distance, relative
from dopt.tf.session.export import tensor_of
from dopt.tf.session.network import Plan, plan_of

#: Where the copy lies in the graph; what begins like this is never quantized.
SCOPE = "dopt/float_copy"


def distillation_loss(sess: Any, outputs: Sequence[str]) -> Any:
    """A scalar tensor: how far the graph is from the float network with the weights that the session has now.

    As dopt.tf.distillation_loss, at ``outputs`` and at the ends of blocks; boolean placeholders (training or not) are
    false in the copy. Raises DoptError PLUGIN_NOT_QUANTIZED, PLUGIN_OUTPUTS, PLUGIN_NO_WEIGHTS.
    """
    plan = plan_of(sess)
    graph = sess.graph
    tensors = [graph.get_tensor_by_name(tensor_of(graph, name)) for name in outputs]
    paths = block_ends([each.layer.name.path for each in plan.operators if each.grid is not None])
    ends = [_end(plan, path) for path in paths]
    frozen = _frozen(sess, plan, [tensor.op.name for tensor in (*tensors, *ends)])
    with graph.as_default():
        copied = _imported(graph, frozen, [tensor.name for tensor in (*tensors, *ends)])
        kinds = ["probabilities" if each.op.type == "Softmax" else "free" for each in tensors]
        at_outputs = [distance(*each) for each in zip(tensors, copied, kinds)]
        inside = [relative(*each) for each in zip(ends, copied[len(tensors) :])]
        total = tf.add_n(at_outputs) / len(at_outputs)
        return total + tf.add_n(inside) / len(inside) if inside else total


def _end(plan: Plan, path: str) -> Any:
    layer = next(each.layer for each in plan.operators if each.layer.name.path == path)
    last = layer.norm or (layer.bias[0] if layer.bias else layer.operator)
    return last.outputs[0]


def _frozen(sess: Any, plan: Plan, nodes: List[str]) -> Any:
    """The float graph with the present values of its variables."""
    try:
        return tf.compat.v1.graph_util.convert_variables_to_constants(sess, plan.float_def, nodes)
    except tf.errors.FailedPreconditionError as error:
        raise DoptError(
            "PLUGIN_NO_WEIGHTS",
            f"The session has no weights yet that the float network could keep: {in_a_line(error, 200)}",
            suggestions=["Call get_quant_loss() after the float network's weights are restored, and before minimize()."],
        ) from error


def _imported(graph: Any, frozen: Any, names: List[str]) -> List[Any]:
    """Puts the copy into the graph, on the graph's own placeholders; returns its tensors of these names."""
    given: Dict[str, Any] = {}
    for node in frozen.node:
        if node.op.startswith("Placeholder"):
            tensor = graph.get_tensor_by_name(f"{node.name}:0")
            given[tensor.name] = tf.constant(False) if tensor.dtype == tf.bool else tensor
    return list(tf.graph_util.import_graph_def(frozen, given, names, SCOPE))
