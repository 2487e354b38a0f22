"""What the functions of ``torch_ops`` are given of a node, and how they decline it."""

from typing import Any, List


class Unsupported(Exception):
    """This form of the operator is for onnxruntime."""


class Attributes:
    """A node's attributes: ``a.get(name, default)``."""

    def __init__(self, node: Any) -> None:
        from onnx import helper

        self._values = {each.name: helper.get_attribute_value(each) for each in node.attribute if each.type != each.GRAPH}

    def get(self, name: str, default: Any = None) -> Any:
        value = self._values.get(name, default)
        return value.decode() if isinstance(value, bytes) else value


def numbers(tensor: Any) -> List[Any]:
    """Values of a small tensor: shapes, axes, pads."""
    return tensor.reshape(-1).tolist()
