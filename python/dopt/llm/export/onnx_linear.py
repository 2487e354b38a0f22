"""A linear layer as ONNX nodes: MatMulNBits of ONNX Runtime, or DequantizeLinear before a MatMul (opset 21)."""

from typing import Any, Optional

from dopt import native
from dopt.llm.artifact import Layer, Reader
from dopt.llm.export.onnx_builder import INT4, GraphBuilder

#: Powers of two that MatMulNBits takes for blocks, largest first; a group of another size is cut into the largest that
#: divides it, the scale repeated.
BLOCKS = (256, 128, 64, 32, 16)


def add_linear(graph: GraphBuilder, reader: Reader, name: str, x: str, mode: str, output: Optional[str] = None) -> str:
    """``x`` [..., K] times the weight of ``name``, plus its bias where it has one: [..., N].

    ``mode`` is ``onnx-matmulnbits`` or ``onnx-qdq``. A layer that is no integer one, or that the operator cannot hold, is a
    MatMul with its dequantized weight.
    """
    bias = f"{name}.bias"
    target = None if reader.has(bias) else output
    if reader.has(f"{name}.weight"):
        y = _float(graph, name, reader.float_tensor(f"{name}.weight"), x, target)
    else:
        layer = reader.layer(name)
        y = (_matmul_nbits if mode == "onnx-matmulnbits" else _dequantized)(graph, layer, x, target)
    if not reader.has(bias):
        return y
    return graph.add("Add", [y, graph.constant(bias, reader.float_tensor(bias))], output)


def block_of(layer: Layer) -> int:
    """The block that MatMulNBits is given for a layer; 0 where none divides its groups."""
    inputs = layer.integers.shape[1]
    size = inputs // layer.scales.shape[1]
    return next((block for block in BLOCKS if size % block == 0), 0)


def pack_nbits(layer: Layer, block: int) -> Any:
    """Integers as uint8 [N, K / block, block · bits / 8], 2^(bits−1) added, the first of two in the low nibble."""
    import numpy as np

    outputs, inputs = layer.integers.shape
    if layer.meta["bits"] == 4:
        packed = native.load().pack_int4(layer.integers) ^ 0x88
    else:
        packed = np.ascontiguousarray(layer.integers).view(np.uint8) ^ 0x80
    return packed.reshape(outputs, inputs // block, -1)


def _matmul_nbits(graph: GraphBuilder, layer: Layer, x: str, output: Optional[str]) -> str:
    import numpy as np

    block, bits = block_of(layer), layer.meta["bits"]
    if block == 0 or bits not in (4, 8):
        return _float(graph, layer.name, layer.dequantized(), x, output)
    outputs, inputs = layer.integers.shape
    scales = np.repeat(layer.scales, inputs // block // layer.scales.shape[1], axis=1)
    return graph.add(
        "MatMulNBits",
        [
            x,
            graph.constant(f"{layer.name}.weight", pack_nbits(layer, block)),
            graph.constant(f"{layer.name}.scales", np.ascontiguousarray(scales.reshape(-1))),
        ],
        output,
        domain="com.microsoft",
        K=inputs,
        N=outputs,
        bits=bits,
        block_size=block,
        # 0 leaves the inputs as they are.
        accuracy_level=0,
    )


def _dequantized(graph: GraphBuilder, layer: Layer, x: str, output: Optional[str]) -> str:
    import numpy as np

    outputs, inputs = layer.integers.shape
    transposed = np.ascontiguousarray(layer.integers.T)
    if layer.meta["bits"] == 4:
        flat = native.load().pack_int4(transposed.reshape(1, -1))
        weight = graph.constant(f"{layer.name}.weight", flat, kind=INT4, shape=(inputs, outputs))
    else:
        weight = graph.constant(f"{layer.name}.weight", transposed)
    groups = layer.scales.shape[1]
    scales = layer.scales[:, 0] if groups == 1 else layer.scales.T
    scale = graph.constant(f"{layer.name}.scales", np.ascontiguousarray(scales))
    blocks = {"axis": 1} if groups == 1 else {"axis": 0, "block_size": inputs // groups}
    return graph.add("MatMul", [x, graph.add("DequantizeLinear", [weight, scale], **blocks)], output)


def _float(graph: GraphBuilder, name: str, weight: Any, x: str, output: Optional[str]) -> str:
    import numpy as np

    return graph.add("MatMul", [x, graph.constant(f"{name}.weight", np.ascontiguousarray(weight.T))], output)
