"""Short calls from TypeScript: pythonia imports this module once and calls ``invoke`` for every request.

Only JSON text crosses: pythonia ends one of the two processes on NaN, on bytes, or on an exception that is no Exception.
"""

import json
import signal
from typing import Any, Optional

from dopt import envelope
from dopt.errors import Cancelled
from dopt.events import Events
from dopt.lifetime import die_with_parent
from dopt.methods import resolve

_current: Optional[Events] = None


def start() -> None:
    """Prepares the process; called once, before the first ``invoke``."""
    die_with_parent()
    signal.signal(signal.SIGINT, _interrupt)


def invoke(method: str, params: str) -> str:
    """Calls ``method`` with the JSON text ``params`` and answers with an envelope as JSON text. Never raises.

    SIGINT during the call ends it with the error CANCELLED; the process stays usable.
    """
    global _current
    events = Events()
    try:
        _current = events
        answer = envelope.run(lambda: resolve(method)(json.loads(params), events))
        _current = None
    except Cancelled as error:  # the signal arrived just outside of the call
        answer = envelope.failure(error)
    finally:
        _current = None
    return envelope.dumps(answer)


def _interrupt(_signal: int, _frame: Any) -> None:
    if _current is not None:
        _current.cancel()
        raise Cancelled()
