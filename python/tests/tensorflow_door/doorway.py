"""What tests of the door share: models written to files, and the door's methods with their parameters filled in."""

import collections
import json
from pathlib import Path

import numpy as np
import pytest
from dopt.doors.tensorflow import door
from dopt.errors import DoptError
from dopt.events import Events
from write_back_graphs import freeze, randomize


def model_params(path, **more):
    """The model as every method of the door takes it."""
    return {
        "framework": "tensorflow",
        "model": str(path),
        "weights": None,
        "className": None,
        "inputShapes": more.pop("shapes", {}),
        "outputs": more.pop("outputs", None),
        "trustCode": more.pop("trustCode", False),
        **more,
    }


def convert(folder, path, **more):
    """Method ``convert`` into ``folder``/converted."""
    out = Path(folder) / "converted"
    out.mkdir(exist_ok=True)
    result = door.convert({**model_params(path, **more), "out": str(out), "seed": 0}, Events())
    json.dumps(result, allow_nan=False)
    return result


def refused(code, run):
    """The error that ``run()`` ends in, which must tell what to do."""
    with pytest.raises(DoptError) as caught:
        run()
    error = caught.value
    assert error.code == code, error.message
    assert error.suggestions and error.place
    return error


def operators(result):
    """How often each operator is in the converted model."""
    import onnx

    return collections.Counter(node.op_type for node in onnx.load(result["model"]).graph.node)


def captured(folder, result):
    """graph.json of a conversion: operators by count, and the whole."""
    from dopt.capture.onnx import capture

    out = Path(folder) / "captured"
    params = {"model": result["model"], "out": str(out), "inputShapes": {}, "outputs": None, "float16ToFloat32": False, "seed": 0}
    graph = json.loads(Path(capture(params, Events())["graph"]).read_text())
    return collections.Counter(node["op"] for node in graph["nodes"]), graph


def frozen(folder, build, *shape, name="net.pb"):
    """A frozen graph of ``build(x)`` in a file: placeholder ``x``, result ``out``."""
    import tensorflow as tf

    graph_def = tf.compat.v1.graph_util.extract_sub_graph(freeze(build, list(shape)), ["out"])
    return write_graph(folder, graph_def, name)


def write_graph(folder, graph_def, name="net.pb"):
    """A GraphDef in a file."""
    path = Path(folder) / name
    path.write_bytes(graph_def.SerializeToString())
    return path


def tf1_graph(build, *shape):
    """A GraphDef of TensorFlow 1: ``build(x)`` in a graph with control flow of version 1 and constants for weights."""
    import tensorflow as tf

    tf.compat.v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            x = tf.compat.v1.placeholder(tf.float32, list(shape), name="x")
            tf.identity(build(x), name="out")
            with tf.compat.v1.Session(graph=graph) as session:
                session.run(tf.compat.v1.global_variables_initializer())
                return tf.compat.v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["out"])
    finally:
        tf.compat.v1.enable_control_flow_v2()


def keras_file(folder, model, name="net.h5"):
    """A Keras model with random weights in a file."""
    path = Path(folder) / name
    randomize(model).save(path)
    return path


def saved_model(folder, module, name="saved", **signatures):
    """A SavedModel of a tf.Module or Keras model."""
    import tensorflow as tf

    path = Path(folder) / name
    tf.saved_model.save(module, str(path), signatures=signatures or None)
    return path


def normal(*shape, seed=0):
    """Random float32 values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
