"""Logs for TensorBoard, and the picture of a search, without TensorBoard: not every profile has it.

A log is a file of records (length, its check, data, its check: tensorflow/core/lib/io/record_writer.h), each an Event of
tensorflow/core/util/event.proto.
"""

import os
import socket
import struct
import time
from typing import Any, Dict, List, Optional, Tuple

from dopt.nas.scoring import write_whole

#: Cyclic redundancy check of Castagnoli's polynomial, reflected (RFC 3720, appendix B.4), a byte at a time.
_TABLE = [0] * 256
for _byte in range(256):
    _value = _byte
    for _ in range(8):
        _value = (_value >> 1) ^ (0x82F63B78 if _value & 1 else 0)
    _TABLE[_byte] = _value


def masked_check(data: bytes) -> int:
    """The check of a record."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    value ^= 0xFFFFFFFF
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


class Board:
    """Writes one log file in a folder, which begins with the first value; ``folder`` None writes nothing."""

    def __init__(self, folder: Optional[str]) -> None:
        self._folder = folder
        self._file: Any = None

    def scalars(self, step: int, **values: float) -> None:
        """Values of a step by name."""
        found = [_bytes(1, name.encode()) + struct.pack("<Bf", 2 << 3 | 5, value) for name, value in values.items()]
        self._event(step, found)

    def image(self, step: int, name: str, picture: bytes, size: Tuple[int, int]) -> None:
        """A PNG of (width, height)."""
        width, height = size
        image = _number(1, height) + _number(2, width) + _number(3, 3) + _bytes(4, picture)
        self._event(step, [_bytes(1, name.encode()) + _bytes(4, image)])

    def _event(self, step: int, values: List[bytes]) -> None:
        if self._folder is None:
            return
        if self._file is None:
            os.makedirs(self._folder, exist_ok=True)
            name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
            self._file = open(os.path.join(self._folder, name), "ab")  # noqa: SIM115 - open as long as the training.
            self._record(struct.pack("<Bd", 1 << 3 | 1, time.time()) + _bytes(3, b"brain.Event:2"))
        summary = b"".join(_bytes(1, value) for value in values)
        self._record(struct.pack("<Bd", 1 << 3 | 1, time.time()) + _number(2, step) + _bytes(5, summary))

    def _record(self, data: bytes) -> None:
        length = struct.pack("<Q", len(data))
        checks = [struct.pack("<I", masked_check(part)) for part in (length, data)]
        self._file.write(length + checks[0] + data + checks[1])
        self._file.flush()


def log_of(params: Dict[str, Any]) -> Optional[str]:
    """Folder of the log of what a checkpoint holds; None where the scenario has none."""
    if params.get("log") is None:
        return None
    return os.path.join(params["log"], os.path.splitext(os.path.basename(params["checkpoint"]))[0])


WIDTH, HEIGHT, EDGE = 960, 600, 70


def picture(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``nasPicture``: score against cost of all networks, those that none beats with their numbers.

    Parameters and result: METHODS.nasPicture in src/bridge/protocol.ts.
    """
    import io

    from PIL import Image, ImageDraw

    points, cost = params["points"], params["cost"]
    page = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(page)
    x = _scale([each["cost"] for each in points], EDGE, WIDTH - EDGE)
    y = _scale([each["score"] for each in points], HEIGHT - EDGE, EDGE)
    draw.line([(EDGE, EDGE / 2), (EDGE, HEIGHT - EDGE / 2)], "black")
    draw.line([(EDGE / 2, HEIGHT - EDGE), (WIDTH - EDGE / 2, HEIGHT - EDGE)], "black")
    for value in {min(each["cost"] for each in points), max(each["cost"] for each in points)}:
        draw.text((x(value) - 15, HEIGHT - EDGE + 8), f"{value:.4g}", "black")
    for value in {min(each["score"] for each in points), max(each["score"] for each in points)}:
        draw.text((8, y(value) - 6), f"{value:.4g}", "black")
    draw.text((WIDTH // 2 - 60, HEIGHT - EDGE + 30), cost, "black")
    draw.text((8, EDGE / 4), "score", "black")
    for each in sorted(points, key=lambda each: each["number"] is not None):
        at, best = (x(each["cost"]), y(each["score"])), each["number"] is not None
        radius = 6 if best else 3
        box = [at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius]
        draw.ellipse(box, fill="#2563eb" if best else "#9ca3af")
        if best:
            draw.text((at[0] + 8, at[1] - 14), str(each["number"]), "black")
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    write_whole(params["file"], lambda file: file.write(buffer.getvalue()))
    Board(params["log"]).image(params["tried"], "pareto", buffer.getvalue(), (WIDTH, HEIGHT))
    return {"file": params["file"]}


def _scale(values: List[float], start: float, end: float) -> Any:
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)
