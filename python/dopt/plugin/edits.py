"""The edits (src/config/rewrite.ts) that turn a float ONNX graph and trained integers into a QDQ model.

The same form as src/quantize/apply.ts writes: integer weights and int32 biases behind DequantizeLinear, a pair of
QuantizeLinear and DequantizeLinear on each quantized tensor, read by the layers only.
"""

from typing import Any, Dict, List, Tuple

import numpy as np

from dopt.errors import DoptError
from dopt.plugin.numbers import LayerNumbers, Network, Quantizer
from dopt.plugin.params import BIAS_SUFFIX
from dopt.plugin.strategies import Grid

#: Operators that may stand between a layer and the sum with its bias.
_MOVING = ("Reshape", "Squeeze", "Unsqueeze", "Transpose")
_INTEGERS = {(8, False): np.uint8, (8, True): np.int8, (16, True): np.int16, (16, False): np.uint16}


class Edits:
    """Collects the rewrite and its initializers; ``activations`` are (tensor, quantizer) in graph order."""

    def __init__(self, graph: Dict[str, Any]) -> None:
        self.nodes = {node["name"]: node for node in graph["nodes"]}
        self.constants = {each["name"]: each["shape"] for each in graph["initializers"]}
        self.parameters: Dict[str, Any] = {}
        self.inputs: List[Dict[str, Any]] = []
        self.added: List[Dict[str, Any]] = []
        self.activations: List[Tuple[str, Quantizer]] = []
        #: Axis of the output channels of each layer's weight as the graph stores it.
        self.axes: Dict[str, int] = {}
        #: Layers as they are in the graph.
        self.layers: List[LayerNumbers] = []
        #: Where the bias of each layer is read that has one: node and index of its input.
        self.biases: Dict[str, Tuple[str, int]] = {}

    def rewrite(self) -> Dict[str, Any]:
        """The content of rewrite.json."""
        empty: Dict[str, Any] = {key: [] for key in ("removeNodes", "outputs", "attributes", "extraOutputs")}
        return {
            "version": 1,
            **empty,
            "initializers": list(self.parameters),
            "inputs": self.inputs,
            "addNodes": self.added,
        }

    def layer(self, layer: LayerNumbers) -> None:
        """Puts a layer's integers in the place of its float weight and bias."""
        node = self._node(layer.name)
        integers, axis = _as_stored(layer, node)
        self.axes[layer.name] = axis
        scalar = len(layer.scales) == 1 and integers.shape[axis] != 1
        name = self._constant(f"{layer.name}/weight", integers, layer.scales, None if scalar else axis)
        self.inputs.append({"node": layer.name, "index": 1, "tensor": name})
        if layer.bias is not None and not layer.bias.any() and len(node["inputs"]) < 3:
            # Exporters leave a bias of zeros out.
            layer = layer._replace(bias=None)
        self.layers.append(layer)
        if layer.bias is None:
            return
        place, index = self._bias(node, layer.bias.size)
        self.biases[layer.name] = (place, index)
        # A sum behind the layer may have its channels elsewhere than along the last axis: [1, channels, 1].
        shape = self.constants.get(self._node(place)["inputs"][index], []) or [layer.bias.size]
        along = max(range(len(shape)), key=lambda at: shape[at])
        scales = layer.bias_scales()
        name = self._constant(
            f"{layer.name}{BIAS_SUFFIX}", layer.bias.reshape(shape), scales, None if scalar else along
        )
        self.inputs.append({"node": place, "index": index, "tensor": name})

    def activation(self, quantizer: Quantizer, readers: List[Tuple[str, int]]) -> None:
        """Lets the readers read rounded values: one pair a tensor, even where one quantizer serves several tensors."""
        tensors: Dict[str, List[Tuple[str, int]]] = {}
        for node, index in readers:
            tensors.setdefault(self._node(node)["inputs"][index], []).append((node, index))
        for tensor, uses in tensors.items():
            taken = {name for name, _ in self.activations}
            name = tensor if tensor not in taken else f"{tensor}#{uses[0][0]}"
            self._pair(name, tensor, quantizer)
            self.activations.append((name, quantizer))
            self.inputs += [{"node": node, "index": index, "tensor": f"{name}/dequantized"} for node, index in uses]

    def _pair(self, name: str, tensor: str, quantizer: Quantizer) -> None:
        kind = _integer_type(quantizer.grid)
        self.parameters[f"{name}/scale"] = np.float32(quantizer.scale).reshape(())
        self.parameters[f"{name}/zero_point"] = np.asarray(quantizer.zero_point, kind)
        parameters = [f"{name}/scale", f"{name}/zero_point"]
        # ONNX itself has 16-bit forms from opset 21 only; onnxruntime has had them in a domain of its own since 1.17.
        domain = "com.microsoft" if quantizer.grid.bits == 16 else ""
        self._add("QuantizeLinear", name, [tensor, *parameters], f"{name}/quantized", domain)
        self._add("DequantizeLinear", name, [f"{name}/quantized", *parameters], f"{name}/dequantized", domain)

    def _constant(self, name: str, integers: Any, scales: Any, axis: Any) -> str:
        shape: Tuple[int, ...] = () if axis is None else (len(scales),)
        self.parameters[f"{name}/quantized"] = integers
        self.parameters[f"{name}/scale"] = np.asarray(scales, np.float32)[: None if shape else 1].reshape(shape)
        inputs = [f"{name}/quantized", f"{name}/scale"]
        if integers.dtype != np.int32:
            # An int32 input of DequantizeLinear takes no zero point; the others name theirs, though it is 0.
            self.parameters[f"{name}/zero_point"] = np.zeros(shape, integers.dtype)
            inputs.append(f"{name}/zero_point")
        self._add("DequantizeLinear", name, inputs, f"{name}/dequantized", "", {} if axis is None else {"axis": axis})
        return f"{name}/dequantized"

    def _add(self, op: str, name: str, inputs: List[str], output: str, domain: str, attributes: Any = None) -> None:
        self.added.append({
            "name": f"{name}/{op}",
            "op": op,
            "domain": domain,
            "inputs": inputs,
            "outputs": [output],
            "attributes": attributes or {},
        })

    def _bias(self, node: Dict[str, Any], size: int) -> Tuple[str, int]:
        """Where a layer reads its bias: itself, or in the sum behind a product, before which values may be moved."""
        if len(node["inputs"]) > 2:
            return node["name"], 2
        tensor = node["outputs"][0]
        while tensor:
            readers = [other for other in self.nodes.values() if tensor in other["inputs"]]
            for other in readers:
                if other["op"] == "Add":
                    index = 1 - other["inputs"].index(tensor)
                    if int(np.prod(self.constants.get(other["inputs"][index], [0]))) == size:
                        return other["name"], index
            moved = [other for other in readers if other["op"] in _MOVING and other["inputs"][0] == tensor]
            tensor = moved[0]["outputs"][0] if moved and len(readers) == 1 else ""
        raise _bug(f"{node['name']} has no bias to replace")

    def _node(self, name: str) -> Dict[str, Any]:
        if name not in self.nodes:
            raise _bug(f"the exported graph has no operator {name!r}")
        return self.nodes[name]


def quantized_graph(graph: Dict[str, Any], network: Network) -> Edits:
    """All edits of a network."""
    edits = Edits(graph)
    for layer in network.layers:
        edits.layer(layer)
    readers: Dict[str, List[Tuple[str, int]]] = {}
    for reading in network.readings:
        readers.setdefault(reading.quantizer, []).append((reading.node, reading.index))
    for quantizer in network.quantizers:
        edits.activation(quantizer, readers.get(quantizer.name, []))
    return edits


def _as_stored(layer: LayerNumbers, node: Dict[str, Any]) -> Tuple[Any, int]:
    """Integers in the layout of the operator: MatMul, and Gemm without transB, keep weights as [inputs, outputs]."""
    turned = node["op"] == "MatMul" or (node["op"] == "Gemm" and not int(node["attributes"].get("transB", 0)))
    if not turned:
        return layer.integers, layer.axis
    return np.ascontiguousarray(layer.integers.T), 1 - layer.axis


def _integer_type(grid: Grid) -> Any:
    return _INTEGERS[(grid.bits, grid.signed)]


def _bug(problem: str) -> DoptError:
    return DoptError("PLUGIN_EXPORT", f"{problem}.", kind="bug", suggestions=["Please report this with the network."])
