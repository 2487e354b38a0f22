"""Running a frozen graph in TensorFlow."""

import re
from typing import Any, Dict, List, Optional, Sequence

from dopt.errors import DoptError

#: TensorFlow puts the place in the user's program before its reason, and stack traces behind it.
_BEFORE = re.compile(r"^.*?\nNode: '[^\n]*'\n", re.DOTALL)
_BEHIND = re.compile(r"\s*(\[\[\{?\{?node|Original stack trace).*$", re.DOTALL)


class GraphSession:
    """A session on one GraphDef of the file ``path``; tensors go in and out as numpy arrays by their TensorFlow names."""

    def __init__(self, graph_def: Any, path: str) -> None:
        import tensorflow as tf
        from tensorflow.core.protobuf import rewriter_config_pb2

        self.path = path
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.import_graph_def(graph_def, name="")
        options = tf.compat.v1.ConfigProto()
        # The remapper fuses convolutions with their bias, also grouped ones, which its kernels then refuse.
        options.graph_options.rewrite_options.remapping = rewriter_config_pb2.RewriterConfig.OFF
        self.session = tf.compat.v1.Session(graph=self.graph, config=options)

    def run(self, outputs: Sequence[str], feeds: Dict[str, Any]) -> List[Any]:
        """Values of tensors ``node:index``. Raises DoptError MODEL_RUN (external) with what TensorFlow says."""
        import tensorflow as tf

        try:
            return self.session.run(list(outputs), feeds)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise DoptError(
                "MODEL_RUN",
                f"TensorFlow {tf.__version__} cannot run {self.path} on these inputs: {reason_of(error)}",
                place=self.path,
                suggestions=["Check the shapes and values of the data against what the model takes."],
            ) from error

    def shape(self, name: str) -> Optional[List[Optional[int]]]:
        """Static shape of a tensor, None for unknown rank."""
        shape = self.graph.get_tensor_by_name(name).shape
        return None if shape.rank is None else shape.as_list()

    def dtype(self, name: str) -> str:
        """Element type of a tensor: ``float32``, ``string``."""
        return self.graph.get_tensor_by_name(name).dtype.name

    def has(self, name: str) -> bool:
        """Whether the graph has the tensor."""
        try:
            self.graph.get_tensor_by_name(name)
            return True
        except (KeyError, ValueError):
            return False


def reason_of(error: BaseException) -> str:
    """What an exception of TensorFlow says, on one line and without its stack traces."""
    text = _BEHIND.sub("", _BEFORE.sub("", str(error)))
    return " ".join(text.split())[:200]
