"""Ends a job whose user code gives no sign of life."""

import os
import sys
import threading
import time
import traceback
from typing import Any, Optional

from dopt.envelope import failure
from dopt.errors import DoptError
from dopt.events import Events


class Patience:
    """While it is entered, user code must read a sample or print something every so many seconds.

    When it does not, a thread answers for the job with METRIC_HANG, naming the line that is being run, and ends the
    process: code that loops or waits cannot be stopped in any other way.
    """

    def __init__(self, seconds: float, events: Events, path: str) -> None:
        self._seconds = seconds
        self._events = events
        self._path = path
        self._last = time.monotonic()
        self._stop = threading.Event()
        self._watched = threading.get_ident()

    def alive(self) -> None:
        """A sign of life."""
        self._last = time.monotonic()

    def __enter__(self) -> "Patience":
        self.alive()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(min(1.0, self._seconds / 4)):
            if time.monotonic() - self._last > self._seconds:
                self._events.answer(failure(self._hung()))
                os._exit(1)

    def _hung(self) -> DoptError:
        place = line_in(self._path, traceback.extract_stack(sys._current_frames()[self._watched]))
        return DoptError(
            "METRIC_HANG",
            f"{self._path} gave no sign of life for {self._seconds:g} s and was ended.",
            place=place or self._path,
            suggestions=[
                "If it loops or waits at that line, mend it there.",
                "If it needs longer, let it print something now and then, or set metric.patience (seconds) in a recipe.",
            ],
        )


class Heard:
    """A text stream that tells of every write, and hands it on."""

    def __init__(self, stream: Any, alive: Any) -> None:
        self._stream = stream
        self._alive = alive

    def write(self, text: str) -> int:
        self._alive()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def line_in(path: str, stack: Any) -> Optional[str]:
    """``path:line`` of the innermost frame of a stack that lies in the file; None when there is none."""
    lines = [frame.lineno for frame in stack if os.path.abspath(frame.filename) == path]
    return f"{path}:{lines[-1]}" if lines else None
