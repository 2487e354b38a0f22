"""A Keras network as a frozen graph."""

from typing import Any, List, NamedTuple


class FrozenGraph(NamedTuple):
    """Tensors are called ``node:index``; ``shapes`` are those of the inputs; ``maps`` have channels."""

    graph_def: Any
    inputs: List[str]
    outputs: List[str]
    shapes: List[List[int]]
    maps: List[str]


def freeze(network: Any, inputs: Any) -> FrozenGraph:
    """The network as it computes outside of training, at the shapes of ``inputs``: a tensor or a list of them."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    given = inputs if isinstance(inputs, list) else [inputs]
    specs = [tf.TensorSpec(each.shape, each.dtype, name=f"input_{at}") for at, each in enumerate(given)]
    function = tf.function(lambda *args: network(list(args) if isinstance(inputs, list) else args[0], training=False))
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(*specs), lower_control_flow=False)
    placeholders = [each for each in frozen.inputs if each.dtype != tf.resource]
    maps = [each.name for each in [*placeholders, *frozen.outputs] if each.shape.rank == 4]
    names, outputs = [each.name for each in placeholders], [each.name for each in frozen.outputs]
    return FrozenGraph(frozen.graph.as_graph_def(), names, outputs, [list(each.shape) for each in given], maps)
