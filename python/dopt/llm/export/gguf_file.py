"""The container of GGUF, version 3: metadata, then tensors, each at a multiple of 32 bytes.

Source: "GGUF" in the documentation of ggml (docs/gguf.md). Dimensions are written fastest first.
"""

import os
import struct
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from dopt.safetensors import write_error

MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32
F32, F16, Q4_0, Q8_0 = 0, 1, 2, 8
#: Elements of a block, and its bytes, by type.
LAYOUT = {F32: (1, 4), F16: (1, 2), Q4_0: (32, 18), Q8_0: (32, 34)}

_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


class Tensor(NamedTuple):
    """``shape`` is that of the array, slowest first; ``make`` gives its bytes as an array when it is written."""

    name: str
    shape: Tuple[int, ...]
    kind: int
    make: Callable[[], Any]

    @property
    def nbytes(self) -> int:
        elements, size = LAYOUT[self.kind]
        count = 1
        for extent in self.shape:
            count *= extent
        return count // elements * size


def write_gguf(path: str, metadata: Dict[str, Any], tensors: List[Tensor], events: Any) -> None:
    """Writes the file, a tensor in memory at a time. Raises DoptError OUTPUT_WRITE."""
    head = MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata))
    head += b"".join(_string(key) + _value(value) for key, value in metadata.items())
    offset = 0
    for tensor in tensors:
        dims = tensor.shape[::-1]
        head += _string(tensor.name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, tensor.kind, offset)
        offset += tensor.nbytes + -tensor.nbytes % ALIGNMENT
    try:
        with open(path, "wb") as file:
            file.write(head + bytes(-len(head) % ALIGNMENT))
            for number, tensor in enumerate(tensors):
                events.progress(number, len(tensors), tensor.name)
                data = tensor.make().tobytes()
                assert len(data) == tensor.nbytes, tensor.name
                file.write(data + bytes(-len(data) % ALIGNMENT))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise write_error(path, error) from error


def pack_q4_0(integers: Any, scales: Any) -> Any:
    """int8 [N, K] of −8..7 and float32 [N, G] as blocks of 32: float16 scale, 16 bytes, first half in the low nibbles."""
    import numpy as np

    outputs, inputs = integers.shape
    blocks = np.empty((outputs, inputs // 32, 18), np.uint8)
    blocks[:, :, :2] = _block_scales(scales, inputs)
    values = (integers.view(np.uint8) ^ np.uint8(0x88)) & np.uint8(15)
    halves = values.reshape(outputs, inputs // 32, 2, 16)
    blocks[:, :, 2:] = halves[:, :, 0] | (halves[:, :, 1] << 4)
    return blocks


def pack_q8_0(integers: Any, scales: Any) -> Any:
    """int8 [N, K] and float32 [N, G] as blocks of 32: float16 scale, 32 bytes."""
    import numpy as np

    outputs, inputs = integers.shape
    blocks = np.empty((outputs, inputs // 32, 34), np.uint8)
    blocks[:, :, :2] = _block_scales(scales, inputs)
    blocks[:, :, 2:] = np.ascontiguousarray(integers).view(np.uint8).reshape(outputs, inputs // 32, 32)
    return blocks


def _block_scales(scales: Any, inputs: int) -> Any:
    import numpy as np

    repeated = np.repeat(scales.astype("<f2"), inputs // 32 // scales.shape[1], axis=1)
    return repeated.view(np.uint8).reshape(scales.shape[0], inputs // 32, 2)


def _string(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    kind, data = _typed(value)
    return struct.pack("<I", kind) + data


def _typed(value: Any) -> Tuple[int, bytes]:
    if isinstance(value, bool):
        return _BOOL, struct.pack("<?", value)
    if isinstance(value, int):
        return (_UINT32, struct.pack("<I", value)) if value >= 0 else (_INT32, struct.pack("<i", value))
    if isinstance(value, float):
        return _FLOAT32, struct.pack("<f", value)
    if isinstance(value, str):
        return _STRING, _string(value)
    # A list has one type: that of its first element, int32 for whole numbers.
    if value and isinstance(value[0], int):
        return _ARRAY, struct.pack("<IQ", _INT32, len(value)) + struct.pack(f"<{len(value)}i", *value)
    if value and isinstance(value[0], float):
        return _ARRAY, struct.pack("<IQ", _FLOAT32, len(value)) + struct.pack(f"<{len(value)}f", *value)
    return _ARRAY, struct.pack("<IQ", _STRING, len(value)) + b"".join(map(_string, value))
