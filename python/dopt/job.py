"""Long work as a process of its own: ``python -m dopt.job job.json``, where the file holds ``{method, params}``.

``--serve`` instead of a file answers one such object after the other, each a line on standard input, until it ends.

Events and, last, the answer go to file descriptor 3 (standard output when there is none, for a look by hand), one JSON
object a line; whatever frameworks print goes where they print it. SIGTERM cancels and exits with 75. SIGINT is ignored:
a terminal sends it to the whole process group, and the parent decides what it means.
"""

import json
import os
import signal
import sys
from typing import Any, Dict, List

from dopt import envelope
from dopt.errors import Cancelled, DoptError
from dopt.events import StreamEvents
from dopt.execute.peak import peak_bytes
from dopt.lifetime import die_with_input, die_with_parent
from dopt.methods import resolve

EXIT_FAILED = 1
EXIT_CANCELLED = 75


def main(arguments: List[str]) -> int:
    """Runs the job file named by the only argument; returns the exit status."""
    if len(arguments) != 1:
        print("usage: python -m dopt.job job.json|--serve", file=sys.stderr)
        return 2
    events = StreamEvents(event_descriptor(), float(os.environ.get("DOPT_HEARTBEAT_SECONDS", "2")))
    die_with_parent()
    die_with_input()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signal.signal(signal.SIGTERM, lambda *_: events.interrupt())
        events.start()
        if arguments == ["--serve"]:
            return _serve(events)
        answer = envelope.run(lambda: _run(arguments[0], events))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if answer["ok"]:
            events.usage(peak_bytes())
        events.answer(answer)
    except Cancelled:
        return EXIT_CANCELLED
    if answer["ok"]:
        return 0
    return EXIT_CANCELLED if answer["error"]["code"] == "CANCELLED" else EXIT_FAILED


def _serve(events: StreamEvents) -> int:
    """Answers requests until there are no more, or one of them is cancelled; returns the exit status."""
    for line in sys.stdin:
        answer = envelope.run(lambda line=line: _call(json.loads(line), events))
        events.answer(answer)
        if not answer["ok"] and answer["error"]["code"] == "CANCELLED":
            return EXIT_CANCELLED
    return 0


def _run(path: str, events: StreamEvents) -> Dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            job = json.load(file)
        _ = job["method"], job["params"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DoptError("JOB_FILE", f"{path} is no job file: {error!r}", kind="bug", place=path) from error
    return _call(job, events)


def _call(job: Dict[str, Any], events: StreamEvents) -> Dict[str, Any]:
    return resolve(job["method"])(job["params"], events)


def event_descriptor() -> int:
    """Where events go: descriptor 3, which no child gets, or standard output."""
    try:
        os.fstat(3)
    except OSError:
        return os.dup(1)
    os.set_inheritable(3, False)
    return 3


if __name__ == "__main__":
    # Ends without waiting for threads of frameworks, whose exit handlers may hang or crash after the answer is out.
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
