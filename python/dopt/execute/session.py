"""An onnxruntime session that hands out chosen inner tensors of a model.

The model's proto is changed in memory: its outputs become the chosen tensors and nodes that none of them needs are
dropped. Weights that lie in external files stay there and are read by onnxruntime itself.
"""

import contextlib
import errno
import os
import tempfile
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from dopt.errors import DoptError
from dopt.execute.nodes import tensors_read
from dopt.execute.session_options import providers_for, session_options
from dopt.execute.torch_session import TorchSession, types_of
from dopt.gpu import REMEDIES, torch_device

#: onnxruntime's names of the types that can be observed; the others are left out with a warning.
FLOAT_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class Executor(NamedTuple):
    """What runs a model: ``onnxruntime`` or ``torch``, on the GPU of an index or, with None, on the processor.

    ``others``: more of the same kind, for what deals its samples out to several.
    """

    kind: str = "onnxruntime"
    gpu: Optional[int] = None
    others: Sequence[Optional[int]] = ()

    def each(self) -> "List[Executor]":
        """An executor of one place for each place."""
        return [Executor(self.kind, gpu) for gpu in (self.gpu, *self.others)]


def executor_of(params: Dict[str, Any]) -> Executor:
    """What the parameters of a method ask for."""
    return Executor(**(params.get("executor") or {}))


def start_part(model: Any, options: Any, executor: Executor) -> Any:
    """A session over a ModelProto that holds its weights: a part of a network."""
    import onnxruntime

    if executor.kind == "torch":
        return TorchSession(model, "", torch_device(executor.gpu), options.intra_op_num_threads)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers_for(executor.gpu))


class InnerSession(NamedTuple):
    """``session`` gives ``outputs`` (name, numpy dtype); ``inputs`` are the graph inputs among the chosen tensors.

    ``session`` is None when only graph inputs were chosen. ``ignored`` names chosen tensors that are not floating-point,
    each with its type.
    """

    session: Any
    outputs: List[Tuple[str, str]]
    inputs: List[str]
    ignored: List[Tuple[str, str]]


def open_inner(path: str, tensors: Sequence[str], threads: int, executor: Optional[Executor] = None) -> InnerSession:
    """A session over the model at ``path`` for ``tensors`` (node outputs or graph inputs, by name, without repetition).

    Raises DoptError: OBSERVE_UNKNOWN_TENSOR (bug), MODEL_UNREADABLE, EXECUTOR_SESSION (external), GPU_UNAVAILABLE.
    """
    import onnx

    executor = executor or Executor()

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises its own types, and OSError
        raise DoptError("MODEL_UNREADABLE", f"{path} cannot be read as ONNX: {error}.", place=path) from error
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    fed = {value.name: value for value in graph.input if value.name not in constants}
    produced = {name for node in graph.node for name in node.output if name}
    unknown = [name for name in tensors if name not in produced and name not in fed]
    if unknown:
        reason = "a constant" if unknown[0] in constants else "no tensor of the model"
        raise DoptError("OBSERVE_UNKNOWN_TENSOR", f"{path}: {unknown[0]!r} is {reason}.", kind="bug", place=path)
    float_inputs, ignored = _float_inputs(name_value for name_value in fed.items() if name_value[0] in set(tensors))
    inner = [name for name in tensors if name in produced]
    if not inner:
        return InnerSession(None, [], float_inputs, ignored)
    if executor.kind == "torch":
        types = types_of(model, inner)
        expose(model, inner)
        session: Any = TorchSession(model, os.path.dirname(os.path.abspath(path)), torch_device(executor.gpu), threads)
    else:
        expose(model, inner)
        session = _start(model, path, threads, executor.gpu)
        types = {value.name: value.type for value in session.get_outputs()}
    outputs = [(name, FLOAT_TYPES[types[name]]) for name in inner if types[name] in FLOAT_TYPES]
    ignored += [(name, types[name]) for name in inner if types[name] not in FLOAT_TYPES]
    return InnerSession(session, outputs, float_inputs, ignored)


def expose(model: Any, tensors: Sequence[str]) -> None:
    """Makes ``tensors`` the outputs of a ModelProto in place and drops nodes, constants and inputs that they do not need.

    Types of the new outputs are left to onnxruntime's own inference.
    """
    import onnx

    graph = model.graph
    needed = set(tensors)
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(tensors_read(node))
    nodes = [_copy(node) for node in reversed(kept)]
    constants = [_copy(tensor) for tensor in graph.initializer if tensor.name in needed]
    inputs = [_copy(value) for value in graph.input if value.name in needed]
    for field, values in ((graph.node, nodes), (graph.initializer, constants), (graph.input, inputs)):
        del field[:]
        field.extend(values)
    del graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)


def has_external_data(graph: Any) -> bool:
    """Whether any constant of a GraphProto, its subgraphs included, lies in another file."""
    return next(_external_tensors(graph), None) is not None


def _external_tensors(graph: Any) -> Iterator[Any]:
    """The constants of a GraphProto, its subgraphs included, that lie in other files."""
    yield from (tensor for tensor in graph.initializer if tensor.data_location == tensor.EXTERNAL)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_location == attribute.t.EXTERNAL:
                yield attribute.t
            for inner in list(attribute.graphs) + ([attribute.g] if attribute.HasField("g") else []):
                yield from _external_tensors(inner)


def _start(model: Any, path: str, threads: int, gpu: Optional[int] = None) -> Any:
    import onnxruntime

    options, providers = session_options(threads), providers_for(gpu)
    try:
        if not has_external_data(model.graph):
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
        else:
            with _with_data(model, path, options) as source:
                session = onnxruntime.InferenceSession(source, options, providers=providers)
        if gpu is not None and "CUDAExecutionProvider" not in session.get_providers():
            raise DoptError(  # it has said why on its standard error, and would go on without
                "GPU_UNAVAILABLE",
                f"GPU {gpu} cannot be used: onnxruntime {onnxruntime.__version__} did not start its CUDA provider.",
                kind="environment",
                suggestions=REMEDIES["onnxruntime"],
            )
        return session
    except DoptError:
        raise
    except Exception as error:  # onnxruntime raises its own types
        raise DoptError(
            "EXECUTOR_SESSION", f"onnxruntime cannot load {path}: {error}", kind="external", place=path
        ) from error


@contextlib.contextmanager
def _with_data(model: Any, path: str, options: Any) -> Iterator[Union[str, bytes]]:
    """What a session over ``model`` can be made of, for as long as it is needed; its external data is that of ``path``.

    External data is found relative to the model file, so the changed proto has to lie beside the original. Where that folder
    cannot be written to, onnxruntime is told the folder, or, where it is too old for that, the proto lies beside links to the
    data (which newer versions refuse to follow out of the folder).
    """
    folder = os.path.dirname(os.path.abspath(path))
    sibling = f"{path}.observer-{os.getpid()}.tmp"
    try:
        try:
            with open(sibling, "wb") as file:
                file.write(model.SerializeToString())
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise DoptError(
                    "OUTPUT_WRITE", f"Cannot write {sibling}: {error.strerror}.", kind="environment", place=sibling
                ) from error
        else:
            yield sibling
            return
        if _takes_a_folder():
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
            yield model.SerializeToString()
            return
        with tempfile.TemporaryDirectory(prefix="dopt-model-") as scratch:
            yield _linked(model, folder, scratch)
    finally:
        if os.path.exists(sibling):
            os.remove(sibling)


def _takes_a_folder() -> bool:
    """Whether onnxruntime can be told where external data lies: since 1.20."""
    import onnxruntime

    return tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) >= (1, 20)


def _linked(model: Any, folder: str, scratch: str) -> str:
    """A file with ``model`` in ``scratch``, beside links to its external data in ``folder``."""
    for tensor in _external_tensors(model.graph):
        location = next(entry.value for entry in tensor.external_data if entry.key == "location")
        link = os.path.join(scratch, location)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if not os.path.lexists(link):
            os.symlink(os.path.join(folder, location), link)
    copy = os.path.join(scratch, "model.onnx")
    with open(copy, "wb") as file:
        file.write(model.SerializeToString())
    return copy


def _float_inputs(values: Iterable[Tuple[str, Any]]) -> Tuple[List[str], List[Tuple[str, str]]]:
    from onnx import TensorProto

    floats, ignored = [], []
    for name, value in values:
        kind = value.type.tensor_type.elem_type
        if kind in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
            floats.append(name)
        else:
            ignored.append((name, f"tensor({TensorProto.DataType.Name(kind).lower()})"))
    return floats, ignored


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
