"""How a method tells its caller how far it is, and learns that it shall stop."""

import json
import os
import threading
import time
from typing import Any, Callable, Dict, Optional, Tuple, TypeVar

from dopt.errors import Cancelled

T = TypeVar("T")


class Events:
    """Silent events, for short calls and tests. Subclasses overwrite ``_send`` to deliver them.

    ``progress`` and ``log`` are points where a cancelled method stops: they raise ``Cancelled``, as
    ``check_cancelled`` does. A method that works long between two reports calls ``check_cancelled`` itself.
    """

    def __init__(self) -> None:
        self._cancelled = False
        self._kept: Tuple[str, Any] = ("", None)

    def keep(self, key: str, make: Callable[[], T]) -> T:
        """What ``make`` gives, which stays for the next method of this process that asks with the same key.

        One thing is kept; another key lets it go before its own is made.
        """
        if self._kept[0] != key:
            self._kept = ("", None)
            self._kept = (key, make())
        return self._kept[1]

    def progress(self, done: float, total: Optional[float], message: str = "") -> None:
        """Reports that ``done`` of ``total`` units are finished; ``total`` is None when it is not known."""
        self.check_cancelled()
        known = None if total is None else float(total)
        self._send({"type": "progress", "done": float(done), "total": known, "message": message})

    def log(self, level: str, message: str) -> None:
        """Reports a sentence for the user; ``level`` is ``info`` or ``warning``."""
        if level not in ("info", "warning"):
            raise ValueError(f"level must be info or warning, not {level!r}")
        self.check_cancelled()
        self._send({"type": "log", "level": level, "message": message})

    def check_cancelled(self) -> None:
        """Raises ``Cancelled`` when the caller has asked to stop."""
        if self._cancelled:
            raise Cancelled()

    def cancel(self) -> None:
        """Marks the work as cancelled; the next report or check raises."""
        self._cancelled = True

    def usage(self, peak_bytes: int) -> None:
        """Reports the largest resident set of this process; before the answer, after which nothing is read."""
        self._send({"type": "usage", "peakBytes": peak_bytes})

    def answer(self, envelope: Dict[str, Any]) -> None:
        """Delivers the outcome of a job; here nobody listens."""

    def _send(self, event: Dict[str, Any]) -> None:
        """Delivers one event; here nobody listens."""


class StreamEvents(Events):
    """Events as one JSON object a line on a file descriptor, with a heartbeat from a thread of its own.

    The heartbeat shows that the process is scheduled and that no native call sits on the interpreter's lock; it also
    finds out that the reader is gone, and then ends the process, so that a job never outlives its caller.
    """

    def __init__(self, descriptor: int, heartbeat_seconds: float = 2.0) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._sending = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(heartbeat_seconds,), daemon=True)

    def start(self) -> None:
        """Sends the first heartbeat and keeps sending them until ``close``."""
        self.heartbeat()
        self._thread.start()

    def heartbeat(self) -> None:
        """Sends a sign of life."""
        self._write({"type": "heartbeat", "time": time.time()})

    def pass_on(self, event: Dict[str, Any]) -> None:
        """Sends an event of another process as it is."""
        self._send(event)

    def close(self) -> None:
        """Stops the heartbeat; the descriptor stays open."""
        self._stop.set()

    def interrupt(self) -> None:
        """Cancels from a signal handler: raises at once, or after the event that is just being written."""
        self.cancel()
        if not self._sending:
            raise Cancelled()

    def answer(self, envelope: Dict[str, Any]) -> None:
        """Sends the last event of a method, whole even when it is cancelled meanwhile."""
        self._sending = True
        self._write({"type": "answer", "envelope": envelope})
        self._sending = False

    def _send(self, event: Dict[str, Any]) -> None:
        self._sending = True
        try:
            self._write(event)
        finally:
            self._sending = False
        self.check_cancelled()

    def _write(self, event: Dict[str, Any]) -> None:
        line = memoryview((json.dumps(event, allow_nan=False) + "\n").encode())
        with self._lock:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except BrokenPipeError:
                os._exit(75)

    def _beat(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            self.heartbeat()
