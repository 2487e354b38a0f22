"""Ends this process with the one that started it, however that one ends."""

import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Asks the kernel (Linux) or a watching thread (elsewhere) to end this process when its parent is gone.

    Without it a parent that was killed leaves its child computing to the end. SIGKILL, because nobody is left to
    wait for a checkpoint and every file is written under a temporary name first.
    """
    parent = os.getppid()
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # gone between the two calls
            os._exit(75)
        return
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def die_with_input() -> None:
    """Ends this process when its standard input closes, where DOPT_LEASH says so.

    In a container the parent is the engine, which outlives the command that asked for it; what reaches from that command
    into the container is standard input.
    """
    if os.environ.get("DOPT_LEASH") == "stdin":
        threading.Thread(target=_watch_input, daemon=True).start()


def _watch_input() -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    os._exit(75)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(75)
