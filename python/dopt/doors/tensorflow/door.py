"""The TensorFlow door: frozen graphs, SavedModels and Keras files as ONNX; and back as a frozen graph."""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from dopt.errors import DoptError


class Opened(NamedTuple):
    """A graph with its border; ``front_end`` is what lies before it, None for most."""

    graph_def: Any
    session: Any
    inputs: List[str]
    outputs: List[str]
    shapes: Dict[str, List[Optional[int]]]
    #: What inputs and outputs are called in ``model``, the ONNX form.
    names: Dict[str, str]
    model: Any
    front_end: Any


def import_framework() -> None:
    """Imports what every use of this door needs."""
    from dopt.doors.tensorflow.load import quiet_tensorflow

    quiet_tensorflow()
    import onnxruntime  # noqa: F401
    import tensorflow  # noqa: F401
    import tf2onnx  # noqa: F401


def convert(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``convert``: freezes, cuts a front end off, converts and compares on random inputs.

    Raises DoptError: those of ``load_graph``, MODEL_OUTPUT, MODEL_INPUT_SHAPE, MODEL_CONVERT, MODEL_OPERATORS,
    PARITY_FAILED.
    """
    from dopt.doors.common.files import source_of
    from dopt.doors.tensorflow.convert import save
    from dopt.doors.tensorflow.load import quiet_tensorflow
    from dopt.doors.tensorflow.names import name_layers, name_moved_inputs

    quiet_tensorflow()
    import tensorflow as tf
    import tf2onnx

    events.progress(0, 3, "reading the graph")
    opened = _open(params, events)
    name_layers(opened.model, opened.graph_def, opened.session)
    name_moved_inputs(opened.model)
    onnx_path = save(opened.model, params["out"])
    events.progress(2, 3, "comparing")
    inputs, outputs = (
        [{"name": opened.names[name], "frameworkName": name} for name in names] for names in (opened.inputs, opened.outputs)
    )
    notes: List[str] = []
    samples = _accepted(opened, params["seed"], notes)
    parity = _compare(params, opened.session, onnx_path, {"inputs": inputs, "outputs": outputs}, samples)
    events.progress(3, 3, "converted")
    front_end = opened.front_end
    if front_end:
        notes.append(f"The graph begins at {front_end.features}, behind {front_end.description}.")
    return {
        "model": onnx_path,
        "inputs": inputs,
        "outputs": outputs,
        "frontEnd": front_end
        and {
            "takes": front_end.takes,
            "input": front_end.input,
            "features": front_end.features,
            "description": front_end.description,
        },
        "notes": notes,
        "computedWeights": [],
        "parity": parity,
        "versions": {"tensorflow": tf.__version__, "tf2onnx": tf2onnx.__version__},
        "source": source_of(params["model"]),
    }


def check_parity(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``checkParity``. Raises as ``convert`` and ``open_source``."""
    from dopt.data.source import open_source

    session = _session(params)
    samples = (sample.feeds for sample in open_source(params["source"]))
    return _compare(params, session, params["onnx"], params["borders"], samples)


def compute_features(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``computeFeatures``: see front_end.py."""
    from dopt.doors.tensorflow.front_end import compute_features as compute

    return compute(_session(params), params, events)


def run_framework(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``runFramework``."""
    from dopt.doors.common.runs import run_over

    session = _session(params)
    import tensorflow as tf

    borders = params["borders"]
    return run_over(params, events, f"TensorFlow {tf.__version__} CPU", lambda feeds: _run(session, borders, feeds))


def write_back(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``writeBack``: see write_back/."""
    from dopt.doors.tensorflow.write_back import write_back as write

    return write(params, events)


def _session(params: Dict[str, Any]) -> Any:
    from dopt.doors.tensorflow.load import load_graph
    from dopt.doors.tensorflow.session import GraphSession

    return GraphSession(load_graph(params["model"], params["trustCode"]).graph_def, params["model"])


def _open(params: Dict[str, Any], events: Any) -> Opened:
    from dopt.doors.tensorflow.border import border_names, find_outputs, input_shapes, needed, placeholders
    from dopt.doors.tensorflow.contents import refuse_host_operators
    from dopt.doors.tensorflow.convert import convert_graph, unknown_operators
    from dopt.doors.tensorflow.front_end import feature_shape, find_front_end
    from dopt.doors.tensorflow.load import load_graph
    from dopt.doors.tensorflow.session import GraphSession

    path = params["model"]
    loaded = load_graph(path, params["trustCode"])
    graph_def = loaded.graph_def
    outputs = find_outputs(loaded, path, params["outputs"])
    refuse_host_operators(graph_def, needed(graph_def, outputs, set()), path)
    session = GraphSession(graph_def, path)
    missing = [name for name in outputs if not session.has(name)]
    if missing:
        raise DoptError(
            "MODEL_OUTPUT",
            f"{path}: {missing[0]!r} is no tensor of the graph; its node has fewer results.",
            place=path,
            suggestions=[f"Use --outputs {missing[0].split(':')[0]}:0"],
        )
    inputs = placeholders(graph_def, outputs)
    if not inputs:
        raise DoptError(
            "MODEL_INPUT",
            f"{path}: no placeholder leads to {', '.join(outputs)}.",
            place=path,
            suggestions=["Name outputs that depend on the input: --outputs NAME"],
        )
    events.progress(1, 3, "converting")
    texts = [name for name in inputs if session.dtype(name) == "string"]
    if not texts:
        shapes = input_shapes(path, {name: session.shape(name) for name in inputs}, params["inputShapes"])
        names = border_names(inputs, outputs, loaded.output_names)
        model = convert_graph(graph_def, path, inputs, outputs, shapes, names)
        unknown = unknown_operators(model)
        if not unknown:
            return Opened(graph_def, session, inputs, outputs, shapes, names, model, None)
    else:
        unknown = _front_end_operators(graph_def, outputs)
    front_end = find_front_end(session, graph_def, path, unknown, outputs)
    shape: List[Optional[int]] = list(feature_shape(session, front_end, path, params["inputShapes"]))
    shapes = {front_end.features: shape}
    inputs = [front_end.features]
    names = border_names(inputs, outputs, loaded.output_names)
    model = convert_graph(graph_def, path, inputs, outputs, shapes, names)
    left = unknown_operators(model)
    if left:
        find_front_end(session, graph_def, path, left, outputs)
    return Opened(graph_def, session, inputs, outputs, shapes, names, model, front_end)


def _front_end_operators(graph_def: Any, outputs: List[str]) -> Any:
    """Audio operators, and everything that reads text: what a graph with text as its input begins with."""
    from dopt.doors.tensorflow.border import needed

    reached = needed(graph_def, outputs, set())
    audio = {"DecodeWav", "AudioSpectrogram", "Mfcc"}
    return {node.op for node in graph_def.node if node.name in reached and node.op in audio} or {"Placeholder"}


def _accepted(opened: Opened, seed: int, notes: List[str]) -> List[Dict[str, Any]]:
    """Random samples that the graph runs on; a note when it takes none (a vocabulary, sizes that must fit together)."""
    samples, reason = [], ""
    for feeds in _random_samples(opened, seed):
        try:
            opened.session.run(opened.outputs, {name: feeds[opened.names[name]] for name in opened.inputs})
        except DoptError as error:
            reason = reason or error.message
            continue
        samples.append(feeds)
    if not samples:
        notes.append(f"Not compared on random inputs: {reason}")
    return samples


def _random_samples(opened: Opened, seed: int) -> Iterator[Dict[str, Any]]:
    """Normal values, and for pictures whole ones from 0 to 255 as well; a batch of two where the batch is open.

    Integers are 0 or 1, which any vocabulary has, and in every other sample up to 9.
    """
    import numpy as np

    for place in range(4):
        rng = np.random.default_rng(10 * seed + place)
        feeds = {}
        for name in opened.inputs:
            sizes = [(2 if place == 1 else 1) if size is None else size for size in opened.shapes[name]]
            dtype = np.dtype(opened.session.dtype(name))
            if dtype.kind != "f":
                array = rng.integers(0, 10 if place % 2 == 1 and dtype.kind != "b" else 2, sizes)
            elif place % 2 == 1 and len(sizes) == 4:
                array = rng.integers(0, 256, sizes)
            else:
                array = rng.standard_normal(sizes)
            feeds[opened.names[name]] = array.astype(dtype)
        yield feeds


def _run(session: Any, borders: Dict[str, Any], feeds: Dict[str, Any]) -> Dict[str, Any]:
    """Outputs of the graph by ONNX name, for feeds by ONNX name."""
    outputs = {each["name"]: each["frameworkName"] for each in borders["outputs"]}
    values = session.run(list(outputs.values()), _given(borders, feeds))
    return dict(zip(outputs, values))


def _given(borders: Dict[str, Any], feeds: Dict[str, Any]) -> Dict[str, Any]:
    return {each["frameworkName"]: feeds[each["name"]] for each in borders["inputs"]}


def _compare(params: Dict[str, Any], session: Any, onnx_path: str, borders: Dict[str, Any], samples: Any) -> Dict[str, Any]:
    import onnxruntime
    import tensorflow as tf

    from dopt.doors.common.parity import Converted, compare_outputs

    converted = Converted(onnx_path, params["model"])
    outputs = [each["name"] for each in borders["outputs"]]
    executor = f"TensorFlow {tf.__version__} against onnxruntime {onnxruntime.__version__}, optimizations off"
    return compare_outputs(
        params["model"],
        executor,
        lambda feeds: _run(session, borders, feeds),
        lambda feeds: dict(zip(outputs, converted.run(outputs, feeds))),
        samples,
        lambda feeds: _first_difference(session, onnx_path, borders, feeds),
        ["Cut the graph before the tensor that differs: --outputs NAME", "Report the model: both must compute the same."],
    )


def _first_difference(session: Any, onnx_path: str, borders: Dict[str, Any], feeds: Dict[str, Any]) -> Optional[str]:
    """The first tensor, in the order of computation, that both forms have under one name and that differs."""
    import numpy as np
    import onnx

    from dopt.capture.parity import compare
    from dopt.capture.runner import Session
    from dopt.doors.common.parity import differs

    renamed = {each["name"]: each["frameworkName"] for each in borders["outputs"]}
    try:
        model = onnx.load(onnx_path)
        produced = [name for node in model.graph.node for name in node.output]
        common = {name: renamed.get(name, name) for name in produced if session.has(renamed.get(name, name))}
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in common)
        found = Session(model.SerializeToString()).run(list(common), feeds)
        expected = session.run(list(common.values()), _given(borders, feeds))
    except Exception:  # noqa: BLE001 - this only refines a message.
        return None
    differing = {}
    for name, left, right in zip(common, expected, found):
        # The two keep channels at different places, and a name may have stayed with a tensor of another shape.
        forms = [right] + ([np.moveaxis(right, 1, -1)] if right.ndim > 2 else [])
        fitting = [form for form in forms if form.shape == np.shape(left)]
        if fitting:
            differing[name] = all(differs(compare(left, form)) for form in fitting)
    for name in differing:
        behind = [output for node in model.graph.node if name in node.input for output in node.output]
        # x · y · c in another order leaves a name with other values, and all that is computed from it the same.
        regrouped = behind and not any(differing.get(output, True) for output in behind)
        if differing[name] and not regrouped:
            return common[name]
    return None
