"""The program of a Keras model as a list of calls; parts that cannot be captured stay as they are, and are listed.

Functional and Sequential models have their program already. Models and layers written as classes are called once with
symbolic tensors, which Keras records, and looked into; what depends on values or on the mode of training is left as it is.
"""

import inspect
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow as tf

from dopt.errors import DoptError, in_a_line


class Value:
    """A tensor of the program."""

    def __init__(self, producer: Optional["Call"] = None) -> None:
        self.producer = producer


class Call:
    """A layer that is called. ``args`` and ``kwargs`` hold Values where it is given tensors; ``path``: its name in the model."""

    def __init__(self, layer: Any, path: str, args: Any, kwargs: Any) -> None:
        self.layer, self.path, self.args, self.kwargs = layer, path, args, kwargs
        self.results: List[Value] = []

    @property
    def inputs(self) -> List[Value]:
        """All tensors that it is given."""
        return [each for each in tf.nest.flatten((self.args, self.kwargs)) if isinstance(each, Value)]


class Captured(NamedTuple):
    """``inputs``: (name, shape with None where open, dtype); ``results``: Values in the structure that the model returns.

    ``opaque``: layers that are called as they are though others are inside, with the reason.
    """

    inputs: List[Tuple[str, Tuple[Optional[int], ...], Any]]
    values: List[Value]
    calls: List[Call]
    results: Any
    opaque: Dict[str, str]


def capture(model: Any, shapes: Dict[str, Tuple[int, ...]]) -> Captured:
    """``shapes`` of deployment by input name. Raises DoptError PLUGIN_INPUTS, and PLUGIN_CAPTURE when nothing can be captured."""
    layers = [model, *model._flatten_layers(include_self=False)]  # noqa: SLF001 - Keras has no public way.
    counts = [(layer, len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in layers]  # noqa: SLF001
    try:
        return _capture(model, shapes)
    finally:
        for layer, inbound, outbound in counts:
            # What was recorded while looking is no part of the user's model.
            del layer._inbound_nodes[inbound:], layer._outbound_nodes[outbound:]  # noqa: SLF001


def _capture(model: Any, shapes: Dict[str, Tuple[int, ...]]) -> Captured:
    recorder = _Recorder()
    graph = model
    if not is_graph(model):
        built = all(layer.built for layer in model._flatten_layers(include_self=False))  # noqa: SLF001
        inputs = [
            tf.keras.Input(shape[1:], name=name, dtype=_dtype_of(model)) for name, shape in shapes.items()
        ]
        graph = _traced(model, [inputs[0] if len(inputs) == 1 else inputs], {})
        if isinstance(graph, str):
            raise DoptError(
                "PLUGIN_CAPTURE",
                f"The program of {type(model).__name__} cannot be captured: {graph}.",
                suggestions=[
                    "Let call() use Keras layers and TensorFlow functions on its tensors, without depending on their values.",
                    "Or put the part that does into a layer of its own: it stays float, and the rest is quantized.",
                ]
                + ([] if built else ["Call the model once on a batch before, so that its layers are built."]),
            )
    values = [Value() for _ in graph.inputs]
    found = recorder.program(graph, values, "")
    borders = [
        (tensor.name.split(":")[0] if is_graph(model) else name, tuple(tensor.shape), tensor.dtype)
        for tensor, name in zip(graph.inputs, [*shapes, *[""] * len(graph.inputs)])
    ]
    _check_inputs(model, borders, shapes)
    results = tf.nest.pack_sequence_as(graph._nested_outputs, found)  # noqa: SLF001
    return Captured(borders, values, recorder.calls, results, recorder.opaque)


class _Recorder:
    def __init__(self) -> None:
        self.calls: List[Call] = []
        self.opaque: Dict[str, str] = {}

    def program(self, graph: Any, inputs: Sequence[Value], prefix: str) -> List[Value]:
        """Adds the calls of a functional model in their order; returns what it puts out."""
        table = {id(tensor): value for tensor, value in zip(graph.inputs, inputs)}
        for node in nodes_of(graph):
            if any(id(tensor) not in table for tensor in node.keras_inputs):
                continue
            args, kwargs = tf.nest.map_structure(
                lambda each: table.get(id(each), each), (tuple(node.call_args), dict(node.call_kwargs))
            )
            outputs = tf.nest.flatten(node.outputs)
            found = self._one(node, f"{prefix}{node.layer.name}", args, kwargs, len(outputs))
            table.update((id(tensor), value) for tensor, value in zip(outputs, found))
        return [table[id(tensor)] for tensor in graph.outputs]

    def _one(self, node: Any, path: str, args: Any, kwargs: Any, outputs: int) -> List[Value]:
        layer = node.layer
        inner: Any = layer if is_graph(layer) else None
        if inner is None and is_composite(layer):
            inner = _traced(layer, list(node.call_args), {k: v for k, v in node.call_kwargs.items() if k != "training"})
            if isinstance(inner, str):
                self.opaque[path] = inner
                inner = None
        elif inner is not None and kwargs.get("training") is not None:
            self.opaque[path] = "it is called in a mode of its own"
            inner = None
        if inner is not None:
            given = [each for each in tf.nest.flatten((args, kwargs)) if isinstance(each, Value)]
            return self.program(inner, given, f"{path}/")
        calls = separated(layer, path, args, kwargs) if type(layer) is tf.keras.layers.SeparableConv2D else []
        for call in calls or [Call(layer, path, args, kwargs)]:
            call.results = call.results or [Value(call) for _ in range(outputs)]
            self.calls.append(call)
        return self.calls[-1].results


def is_graph(layer: Any) -> bool:
    """Whether it is a model whose program Keras knows."""
    return isinstance(layer, tf.keras.Model) and bool(getattr(layer, "_is_graph_network", False))


def is_composite(layer: Any) -> bool:
    """Whether it is a layer of the user's that calls others."""
    own = not type(layer).__module__.startswith("keras.") or isinstance(layer, tf.keras.Model)
    return own and next(iter(layer._flatten_layers(include_self=False)), None) is not None  # noqa: SLF001


def nodes_of(graph: Any) -> List[Any]:
    """Calls of a functional model, inputs left out, in the order in which it makes them."""
    depths = graph._nodes_by_depth  # noqa: SLF001
    return [node for depth in sorted(depths, reverse=True) for node in depths[depth] if not node.is_input]


def _traced(layer: Any, args: List[Any], kwargs: Dict[str, Any]) -> Any:
    """A functional model of what the layer computes; or why there is none."""
    modes = [None, True, False] if "training" in inspect.signature(layer.call).parameters else [None]
    graphs = []
    for mode in modes:
        inputs: List[Any] = []

        def fresh(each: Any, inputs: List[Any] = inputs) -> Any:
            if not tf.keras.backend.is_keras_tensor(each):
                return each
            inputs.append(tf.keras.Input(each.shape[1:], each.shape[0], dtype=each.dtype))
            return inputs[-1]

        given, more = tf.nest.map_structure(fresh, (args, kwargs))
        try:
            training = {} if len(modes) == 1 else {"training": mode}
            graphs.append(tf.keras.Model(inputs, layer.call(*given, **more, **training)))
        except Exception as error:  # noqa: BLE001 - the user's program may raise anything.
            return in_a_line(error, 200)
    programs = [[_signature(node) for node in nodes_of(graph)] for graph in graphs]
    if any(program != programs[0] for program in programs[1:]):
        return "it computes something else in training than in evaluation"
    return graphs[0]


def _signature(node: Any) -> Tuple[str, str]:
    """What a call does, but for the mode that it is given and the tensors that it reads."""
    function = getattr(node.layer, "symbol", None) or getattr(getattr(node.layer, "function", None), "__name__", "")
    constants = [
        str(each)
        for each in tf.nest.flatten((node.call_args, {k: v for k, v in node.call_kwargs.items() if k != "training"}))
        if not tf.is_tensor(each)
    ]
    return function or node.layer.name, " ".join(constants)


def _dtype_of(model: Any) -> Any:
    embeds = any(isinstance(layer, tf.keras.layers.Embedding) for layer in model._flatten_layers())  # noqa: SLF001
    return tf.int32 if embeds else None


def _check_inputs(model: Any, borders: List[Any], shapes: Dict[str, Tuple[int, ...]]) -> None:
    names = [name for name, _, _ in borders]
    fits = len(shapes) == len(borders) and (set(names) == set(shapes) or not set(names) & set(shapes))
    if not fits:
        raise DoptError(
            "PLUGIN_INPUTS",
            f"{model.name} takes {', '.join(names)}, not {', '.join(shapes)}.",
            found=", ".join(shapes),
            suggestions=["Name the inputs of the model in input_shape, in their order."],
        )
    ordered = [shapes[name] for name in names] if set(names) == set(shapes) else list(shapes.values())
    for (name, shape, _), wanted in zip(borders, ordered):
        if len(shape) != len(wanted) or any(size not in (None, given) for size, given in zip(shape, wanted)):
            raise DoptError(
                "PLUGIN_INPUTS",
                f"Input {name} of {model.name} is {shape}, which {wanted} does not fit.",
                found=str(wanted),
                suggestions=["TensorFlow's order of axes is batch, height, width, channels: \"x:1,224,224,3\""],
            )


def separated(layer: Any, path: str, args: Any, kwargs: Any) -> List[Call]:
    """A separable convolution as the two layers that it is."""
    config = layer.get_config()
    shared = {key: config[key] for key in ("data_format", "trainable")}
    depthwise = tf.keras.layers.DepthwiseConv2D(
        config["kernel_size"],
        config["strides"],
        config["padding"],
        config["depth_multiplier"],
        dilation_rate=config["dilation_rate"],
        use_bias=False,
        name="depthwise",
        **shared,
    )
    pointwise = tf.keras.layers.Conv2D(
        config["filters"], 1, use_bias=config["use_bias"], activation=layer.activation, name="pointwise", **shared
    )
    first, last = (tf.convert_to_tensor(each).numpy() for each in (layer.depthwise_kernel, layer.pointwise_kernel))
    axis = 1 if layer.data_format == "channels_first" else -1
    for made, kernel, bias in ((depthwise, first, None), (pointwise, last, layer.bias)):
        shape = [None] * 4
        shape[axis] = kernel.shape[2]
        made.build(shape)
        made.set_weights([kernel] if bias is None else [kernel, bias.numpy()])
    calls = [Call(depthwise, f"{path}/depthwise", args, kwargs)]
    between = Value(calls[0])
    calls.append(Call(pointwise, f"{path}/pointwise", (between,), {}))
    calls[0].results = [between]
    return calls
