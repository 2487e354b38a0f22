"""Running a frozen graph in TensorFlow."""

from typing import Any, Dict, List, Optional, Sequence


class GraphSession:
    """A session on one GraphDef; tensors go in and out as numpy arrays by their TensorFlow names."""

    def __init__(self, graph_def: Any) -> None:
        import tensorflow as tf

        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.import_graph_def(graph_def, name="")
        self.session = tf.compat.v1.Session(graph=self.graph)

    def run(self, outputs: Sequence[str], feeds: Dict[str, Any]) -> List[Any]:
        """Values of tensors ``node:index``. Raises what TensorFlow raises."""
        return self.session.run(list(outputs), feeds)

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
