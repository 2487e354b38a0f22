"""Integers into words, as the formats of quantized language models have them; all of it whole arrays at a time."""

from typing import Any

from dopt import native

#: AWQ's GEMM kernel: nibble i of a word holds this output of its eight (mit-han-lab/llm-awq, AutoAWQ `packing_utils`).
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def pack_words(integers: Any, bits: int) -> Any:
    """int8 [R, C] of −2^(bits−1)..2^(bits−1)−1, shifted to unsigned, as int32 [R, ceil(C · bits / 32)].

    ``bits`` is 4 or 8; the first value lies in the lowest bits. What a last word is not filled with is 0.
    """
    import numpy as np

    each = 32 // bits
    rows, columns = integers.shape
    padded = -(-columns // each) * each
    if padded != columns:
        # The smallest integer is the unsigned 0.
        integers = np.pad(integers, ((0, 0), (0, padded - columns)), constant_values=-(1 << (bits - 1)))
    if bits == 4:
        return (native.load().pack_int4(integers) ^ 0x88).view(np.dtype("<i4"))
    return (np.ascontiguousarray(integers, np.int8).view(np.uint8) ^ 0x80).view(np.dtype("<i4"))


def pack_rows(integers: Any, bits: int) -> Any:
    """int8 [N, K] as int32 [K · bits / 32, N]: consecutive inputs share a word (GPTQ). K · bits divides by 32."""
    import numpy as np

    return np.ascontiguousarray(pack_words(integers, bits).T)


def pack_awq(integers: Any) -> Any:
    """int8 [N, K] of −8..7 as int32 [K, N / 8]: eight outputs share a word, in AWQ's order. N divides by 8."""
    import numpy as np

    outputs, inputs = integers.shape
    ordered = np.ascontiguousarray(integers.T).reshape(inputs, outputs // 8, 8)[:, :, list(AWQ_ORDER)]
    return pack_words(ordered.reshape(inputs, outputs), 4)


def pack_zeros(value: int, groups: int, outputs: int, bits: int) -> Any:
    """One unsigned ``value`` for all groups and outputs: int32 [groups, ceil(outputs · bits / 32)]."""
    import numpy as np

    return pack_words(np.full((groups, outputs), value - (1 << (bits - 1)), np.int8), bits)
