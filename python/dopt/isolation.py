"""Running a method in a forked child, so that native code that crashes on a damaged file ends the child alone.

onnx and onnxruntime are C++ and trust what they read: a damaged model can divide by zero, read past an array or abort
inside them, which no Python handler sees. The child shares all memory with its parent and starts within milliseconds;
progress and the answer come back as JSON lines through a pipe.
"""

import faulthandler
import json
import os
import select
import signal
import traceback
from typing import Any, Callable, Dict, List, Optional

from dopt.errors import Cancelled, DoptError
from dopt.events import Events

#: Seconds between two looks at whether the caller has cancelled.
_POLL = 0.2


def run_isolated(function: Callable[[Events], Dict[str, Any]], events: Events, place: str) -> Dict[str, Any]:
    """``function(events)`` in a child process; its result, a dict of JSON values, is returned.

    A DoptError of the child is raised here again, any other exception as RuntimeError with the child's traceback.
    Raises DoptError MODEL_CRASHED (external), naming ``place``, when a signal ended the child. Where the platform
    cannot fork, the function runs in this process.
    """
    if not hasattr(os, "fork"):
        return function(events)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(function, writer)
    os.close(writer)
    status: Optional[int] = None
    try:
        answer = _relay(reader, events)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(reader)
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if answer is None:
        raise _crashed(status, place)
    if "error" in answer:
        error = answer["error"]
        raise DoptError(**error)
    if "exception" in answer:
        raise RuntimeError(f"in the isolated process:\n{answer['exception']}")
    return answer["result"]


class _PipeEvents(Events):
    """Events of the child, sent to the parent."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def _send(self, event: Dict[str, Any]) -> None:
        send(self._descriptor, event)


def send(descriptor: int, message: Dict[str, Any]) -> None:
    """Writes one JSON object as a line."""
    data = memoryview((json.dumps(message, allow_nan=False) + "\n").encode())
    while data:
        data = data[os.write(descriptor, data) :]


def _work(function: Callable[[Events], Dict[str, Any]], writer: int) -> None:
    """The child's whole life; never returns."""
    from dopt.lifetime import die_with_parent

    status = 1
    try:
        # What a signal means is decided by the parent, which ends this process when it stops waiting.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        die_with_parent()
        # The parent tells of a crash; a dump of this process's frames as well would read like a second one.
        faulthandler.disable()
        try:
            answer = {"result": function(_PipeEvents(writer))}
        except DoptError as error:
            fields = ("code", "message", "kind", "place", "suggestions", "found")
            answer = {"error": {field: getattr(error, field) for field in fields}}
        except Exception:  # noqa: BLE001 - whatever it is, the parent reports it.
            answer = {"exception": traceback.format_exc()}
        send(writer, answer)
        status = 0
    except Cancelled:
        pass
    finally:
        os._exit(status)


def _relay(reader: int, events: Events) -> Optional[Dict[str, Any]]:
    """Passes the child's events on until its answer comes; None when the pipe ends without one."""
    buffer = b""
    while True:
        events.check_cancelled()
        if not select.select([reader], [], [], _POLL)[0]:
            continue
        data = os.read(reader, 1 << 16)
        if not data:
            return None
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message.get("type") == "progress":
                events.progress(message["done"], message["total"], message["message"])
            elif message.get("type") == "log":
                events.log(message["level"], message["message"])
            else:
                return message


def _crashed(status: int, place: str) -> DoptError:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    try:
        cause = signal.Signals(number).name
    except ValueError:
        cause = f"status {status}"
    killed: List[str] = ["The process may have run out of memory: close other programs or use a smaller model."]
    return DoptError(
        "MODEL_CRASHED",
        f"{place}: onnx or onnxruntime crashed on the model ({cause}).",
        kind="external",
        place=place,
        suggestions=(killed if cause == "SIGKILL" else [])
        + [
            "The file is probably damaged: compare it with its source, or export it again.",
            "Check that the model runs in onnxruntime alone.",
        ],
    )
