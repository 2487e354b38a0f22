"""What a QDQ model computes in integers, whoever made it: the scope that a row of docs/benchmarks.md has to state.

    python -m peers.scope MODEL.onnx        (needs onnx)

Prints one JSON object:
    layers           Conv, ConvTranspose, Gemm and MatMul with a weight
    inputs           of them, those that read a tensor of 8 bits
    weights          of them, those with a weight of 8 bits
    channels         of them, those with a scale for each output channel
    others           other operators that compute something
    float            of them, those that read values of more than 8 bits and are not part of one layer: a function, element by
                     element, of its result alone or of that and tensors of 8 bits
    outputs          graph outputs that are quantized
"""
import json
import sys

import onnx
from onnx import TensorProto, numpy_helper

LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
#: Move numbers without computing any.
MOVES = {
    *("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Expand", "Tile"),
    *("Identity", "Constant", "ConstantOfShape", "Shape", "Cast", "DepthToSpace", "SpaceToDepth", "Range"),
}
#: Give what they were given, or a choice of it: on the grid of their input.
SAME_GRID = {*MOVES, "MaxPool"}
#: Computed element by element: behind a layer, part of it on most devices.
ELEMENTWISE = {
    *("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus"),
    *("Erf", "Gelu", "Swish", "Mish", "Add", "Sub", "Mul", "Div", "Min", "Max", "Pow", "Sqrt", "BatchNormalization"),
}
EIGHT_BITS = {TensorProto.INT8, TensorProto.UINT8}


class Scope:
    """Lookups in the graph of a QDQ model; subgraphs of control flow are not looked into."""

    def __init__(self, graph):
        self.graph = graph
        self.producers = {output: node for node in graph.node for output in node.output}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].HasField("t"):
                self.constants[node.output[0]] = node.attribute[0].t

    def is_constant(self, name):
        """Whether the value is known before the model runs: a weight, or what is quantized and shaped from one."""
        if name in self.constants or not name:
            return True
        node = self.producers.get(name)
        if node is None or node.op_type not in {QUANTIZE, DEQUANTIZE, *MOVES}:
            return False
        return node.op_type == "Constant" or all(self.is_constant(value) for value in node.input)

    def grid(self, name):
        """The DequantizeLinear of 8 bits that a value comes from, past what keeps numbers as they are; None for another value."""
        node = self.producers.get(name)
        while node is not None and node.op_type in SAME_GRID and node.input:
            node = self.producers.get(node.input[0])
        if node is not None and node.op_type == "Concat":
            parts = [self.grid(value) for value in node.input]
            return parts[0] if None not in parts and len({self.parameters(part) for part in parts}) == 1 else None
        if node is None or node.op_type != DEQUANTIZE:
            return None
        zero_point = self.constants.get(node.input[2]) if len(node.input) > 2 else None
        integers = self.constants.get(node.input[0])
        # Without a zero point integers are unsigned, as the operator's default says, where no constant says otherwise.
        kind = zero_point or integers
        return node if kind is None or kind.data_type in EIGHT_BITS else None

    def parameters(self, grid):
        """Scale and zero point of a DequantizeLinear, with their types, to compare."""
        known = [(name, self.constants.get(name)) for name in grid.input[1:]]
        return tuple(name if value is None else (value.data_type, numpy_helper.to_array(value).tobytes()) for name, value in known)

    def scales(self, grid):
        scale = self.constants.get(grid.input[1])
        count = 1
        for size in scale.dims if scale is not None else []:
            count *= size
        return count

    def sources(self, name, seen):
        """Layers that a value is an element-by-element function of, beside tensors of 8 bits; None as soon as anything else
        goes into it."""
        if name in seen:
            return seen[name]
        node = self.producers.get(name)
        if self.grid(name) is not None:
            found = set()
        elif node is None or node.op_type in {QUANTIZE, DEQUANTIZE}:
            found = None
        elif self.is_layer(node):
            found = {node.output[0]}
        elif node.op_type in ELEMENTWISE:
            found = set()
            for value in node.input:
                if self.is_constant(value):
                    continue
                behind = self.sources(value, seen)
                found = None if behind is None or found is None else found | behind
        else:
            found = None
        seen[name] = found
        return found

    def is_layer(self, node):
        return node.op_type in LAYERS and self.is_constant(node.input[1])

    def describe(self):
        counts = dict.fromkeys(("layers", "inputs", "weights", "channels", "others", "float", "outputs"), 0)
        seen = {}
        for node in self.graph.node:
            if self.is_layer(node):
                weight = self.grid(node.input[1])
                counts["layers"] += 1
                counts["inputs"] += self.grid(node.input[0]) is not None
                counts["weights"] += weight is not None
                counts["channels"] += weight is not None and self.scales(weight) > 1
            elif node.op_type not in {QUANTIZE, DEQUANTIZE, *MOVES} and not self.is_constant(node.output[0]):
                behind = self.sources(node.output[0], seen)
                values = [value for value in node.input if not self.is_constant(value)]
                counts["others"] += 1
                in_integers = values and all(self.grid(value) is not None for value in values)
                counts["float"] += not in_integers and (behind is None or len(behind) != 1)
        counts["outputs"] = sum(self.grid(output.name) is not None for output in self.graph.output)
        return counts


def main():
    (model,) = sys.argv[1:]
    print(json.dumps(Scope(onnx.load(model).graph).describe()))


if __name__ == "__main__":
    main()
