"""TensorFlow models as frozen graphs: a .pb is read, a SavedModel or Keras .h5 is frozen here."""

import contextlib
import os
from typing import Any, Dict, Iterator, List, NamedTuple

from dopt.doors.tensorflow.contents import refuse_lambda_layers
from dopt.errors import DoptError, in_a_line

#: Operators whose values lie outside the graph.
_VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "ReadVariableOp", "ResourceGather", "HashTableV2"}


class LoadedGraph(NamedTuple):
    """A GraphDef whose weights are constants, with the tensors that the model names as its own (none for a .pb).

    ``output_names``: what the model calls its outputs, by tensor: the layers of Keras, the keys of a signature.
    """

    graph_def: Any
    inputs: List[str]
    outputs: List[str]
    output_names: Dict[str, str]


def load_graph(path: str, trust_code: bool = False) -> LoadedGraph:
    """Reads a model. ``trust_code``: execute the Python code of a Keras file's Lambda layers.

    Raises DoptError: MODEL_FORMAT (another kind of file), MODEL_DAMAGED, MODEL_NOT_FROZEN, MODEL_HOLDS_CODE.
    """
    quiet_tensorflow()
    if os.path.basename(path) == "saved_model.pb":
        path = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        return _from_saved_model(path)
    if path.lower().endswith((".h5", ".hdf5")):
        return _from_keras(path, trust_code)
    return LoadedGraph(_read_graph_def(path), [], [], {})


def quiet_tensorflow() -> None:
    """Keeps TensorFlow's own messages to errors; must be called before it is imported first."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def _read_graph_def(path: str) -> Any:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise DoptError("MODEL_UNREADABLE", f"Cannot read {path}: {error.strerror}.", place=path) from error
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(data)
    except DecodeError as error:
        raise _format(path, data, "it is no TensorFlow graph, or it is damaged") from error
    if not graph_def.node:
        raise _format(path, data, "it holds no nodes")
    try:
        tf.import_graph_def(graph_def, name="")
    except Exception as error:  # noqa: BLE001 - TensorFlow raises many types for damaged graphs.
        raise DoptError(
            "MODEL_DAMAGED",
            f"TensorFlow {tf.__version__} cannot take the graph {path}: {in_a_line(error)}",
            place=path,
            suggestions=["Freeze the model again with this or an older version of TensorFlow."],
        ) from error
    variables = [node.name for node in graph_def.node if node.op in _VARIABLES]
    if variables:
        raise DoptError(
            "MODEL_NOT_FROZEN",
            f"{path} keeps weights outside the graph: {len(variables)} variables, {variables[0]!r} first.",
            place=path,
            suggestions=[
                "Freeze it with its checkpoint: tf.compat.v1.graph_util.convert_variables_to_constants.",
                "Or give the SavedModel folder or the .h5 file.",
            ],
        )
    return graph_def


def _format(path: str, data: bytes, reason: str) -> DoptError:
    suggestions = ["Give a frozen GraphDef, a SavedModel folder or a Keras .h5."]
    if data[:4] == b"PK\x03\x04":
        reason, suggestions = "it is a zip archive", ["A .pth or .pt goes with its .py: NET.py --weights FILE"]
    elif b"saved_model" in data[:4096] or b"serving_default" in data:
        reason, suggestions = "it looks like the saved_model.pb of a SavedModel", ["Give the folder that it lies in."]
    elif data[:8] == b"\x89HDF\r\n\x1a\n":
        reason, suggestions = "it is a Keras file in HDF5", ["Give it the ending .h5."]
    elif _is_onnx(data):
        reason, suggestions = "it is an ONNX model", ["Give it the ending .onnx, or --framework onnx."]
    return DoptError("MODEL_FORMAT", f"Cannot read {path} as a TensorFlow graph: {reason}.", place=path, suggestions=suggestions)


def _is_onnx(data: bytes) -> bool:
    import onnx

    try:
        model = onnx.ModelProto()
        model.ParseFromString(data)
        return bool(model.graph.node) and bool(model.opset_import)
    except Exception:  # noqa: BLE001
        return False


def _from_saved_model(path: str) -> LoadedGraph:
    import tensorflow as tf

    try:
        model = tf.saved_model.load(path)
        signatures = dict(model.signatures)
    except Exception as error:  # noqa: BLE001
        raise _unloadable(path, error) from error
    if not signatures:
        raise DoptError(
            "MODEL_FORMAT",
            f"The SavedModel {path} has no signature.",
            place=path,
            suggestions=["Save it with signatures={'serving_default': function}."],
        )
    function = signatures.get("serving_default") or next(iter(signatures.values()))
    # A signature gives its results sorted by their keys.
    return _freeze(path, function, sorted(function.structured_outputs))


def _from_keras(path: str, trust_code: bool) -> LoadedGraph:
    import h5py
    import tensorflow as tf

    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise DoptError(
                    "MODEL_FORMAT",
                    f"{path} holds weights without a network.",
                    place=path,
                    suggestions=["Save the whole model: model.save('net.h5') instead of model.save_weights('net.h5')."],
                )
            if not trust_code:
                refuse_lambda_layers(file.attrs["model_config"], path)
        with _bounded_passes():
            model = tf.keras.models.load_model(path, compile=False)
        specs = [tf.TensorSpec(value.shape, value.dtype, name=value.name.split(":")[0]) for value in model.inputs]
        single = len(specs) == 1
        function = tf.function(lambda *args: model(args[0] if single else list(args), training=False))
        concrete = function.get_concrete_function(*specs)
    except DoptError:
        raise
    except Exception as error:  # noqa: BLE001
        raise _unloadable(path, error) from error
    return _freeze(path, concrete, model.output_names)


@contextlib.contextmanager
def _bounded_passes() -> Iterator[None]:
    """Loading a damaged network ends. Raises ValueError where layers wait for results that no layer gives.

    Keras connects layers by going through their list until all are connected
    (keras/engine/functional.py, ``reconstruct_from_config``): forever, where one of them cannot be.
    """
    try:
        from keras.engine import functional
    except ImportError:  # Keras of another version than the locked one, by --env system
        yield
        return
    reconstruct = functional.reconstruct_from_config

    def bounded(config: Dict[str, Any], *args: Any, **more: Any) -> Any:
        return reconstruct({**config, "layers": _Passes(config["layers"])}, *args, **more)

    functional.reconstruct_from_config = bounded
    try:
        yield
    finally:
        functional.reconstruct_from_config = reconstruct


class _Passes(list):
    """Layers of a network that can be gone through once to make them, and once for each of their calls."""

    def __init__(self, layers: List[Dict[str, Any]]) -> None:
        super().__init__(layers)
        self._left = 2 + sum(1 + len(each.get("inbound_nodes") or ()) for each in layers)

    def __iter__(self) -> Iterator[Any]:
        self._left -= 1
        if self._left < 0:
            raise ValueError("its layers wait for results that no layer gives")
        return super().__iter__()


def _freeze(path: str, function: Any, output_names: List[str]) -> LoadedGraph:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    except Exception as error:  # noqa: BLE001 - the first look of TensorFlow's C++ at the whole graph.
        raise _unloadable(path, error) from error
    inputs = [value.name for value in frozen.inputs if value.dtype.name != "resource"]
    outputs = [value.name for value in frozen.outputs]
    names = dict(zip(outputs, output_names)) if len(outputs) == len(output_names) else {}
    return LoadedGraph(frozen.graph.as_graph_def(), inputs, outputs, names)


def _unloadable(path: str, error: BaseException) -> DoptError:
    import tensorflow as tf

    return DoptError(
        "MODEL_DAMAGED",
        f"TensorFlow {tf.__version__} cannot load {path}: {in_a_line(error)}",
        place=path,
        suggestions=[
            "Save it again with this or an older version of TensorFlow.",
            "Layers and functions of your own have to be left out of the file: save a SavedModel instead of a .h5.",
        ],
    )
