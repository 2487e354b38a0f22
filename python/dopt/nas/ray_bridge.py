"""A worker of a search on a cluster of Ray: ``python -m dopt.nas.ray_bridge '{"address", "cpus", "gpus"}'``.

Towards its caller it is ``python -m dopt.job --serve``: a method a line on standard input, events and answers on descriptor 3.
The methods themselves run in one actor, on whatever machine of the cluster has room for it, which gets dopt's own code from
here; what the user's code and dopt's files need must lie under the same paths on every machine. An actor that is lost ends
this process without an answer, as the loss of a worker on this machine does.
"""

import io
import json
import math
import os
import signal
import sys
import time
import zipfile
from typing import Any, Dict, List

from dopt import envelope
from dopt.errors import Cancelled, DoptError
from dopt.events import StreamEvents
from dopt.job import EXIT_CANCELLED, EXIT_FAILED, event_descriptor
from dopt.lifetime import die_with_parent

#: Seconds between two looks at what the actor says, between two signs of life, and until an actor must have found room.
LOOK, BEAT, ROOM = 0.2, 2.0, 120.0


def main(arguments: List[str]) -> int:
    """Serves requests until standard input ends; returns the exit status."""
    options = json.loads(arguments[0])
    events = StreamEvents(event_descriptor(), math.inf)
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    place: Any = None
    try:
        signal.signal(signal.SIGTERM, lambda *_: events.interrupt())
        for line in sys.stdin:
            events.heartbeat()
            try:
                place = place or _Place(options, events)
            except DoptError as error:
                events.answer(envelope.failure(error))
                continue
            found = place.ask(line)
            if found is None:
                return EXIT_FAILED
            events.answer(found)
    except Cancelled:
        return EXIT_CANCELLED
    return 0


class _Place:
    """An actor in the cluster. Raises DoptError RAY_MISSING, RAY_CLUSTER, RAY_FULL or RAY_NODE."""

    def __init__(self, options: Dict[str, Any], events: StreamEvents) -> None:
        self._ray, self._events = _connected(options["address"]), events
        # Ray has put its own in this place.
        signal.signal(signal.SIGTERM, lambda *_: events.interrupt())
        self._last = time.monotonic()
        room = self._ray.remote(
            num_cpus=options["cpus"], num_gpus=options["gpus"], concurrency_groups={"work": 1, "look": 1})
        self._actor = room(_worker_class(self._ray)).remote(_package())
        self._wait_for_room(options)

    def _wait_for_room(self, options: Dict[str, Any]) -> None:
        ready, begun = self._actor.machine.remote(), time.monotonic()
        while not self._ray.wait([ready], timeout=LOOK)[0]:
            self._beat()
            if time.monotonic() - begun > ROOM:
                has = ", ".join(f"{count:g} {name}" for name, count in sorted(self._ray.cluster_resources().items())
                                if name in ("CPU", "GPU"))
                raise DoptError(
                    "RAY_FULL", f"The Ray cluster had no room for a worker of {options['cpus']} CPU and {options['gpus']} GPU "
                    f"for {ROOM:.0f} seconds.", kind="environment", place=options["address"], found=has,
                    suggestions=["Ask for less: --workers, --threads and gpu_id.", "Add machines: ray start --address HOST:PORT"])
        try:
            self._ray.get(ready)
        except self._ray.exceptions.RayError as error:
            raise DoptError(
                "RAY_NODE", "A worker on the Ray cluster could not begin.", kind="environment", place=options["address"],
                found=_last_line(error), suggestions=[
                    "Give every machine the same Python and packages: those of `dopt env list`, and ray."]) from error

    def ask(self, line: str) -> Any:
        """The envelope of a method; None when the actor is gone."""
        try:
            answer = self._actor.run.remote(line)
            done: Any = False
            while not done:
                done = self._ray.wait([answer], timeout=LOOK)[0]
                # Whoever answers is alive, and no native call sits on its interpreter's lock.
                for event in self._ray.get(self._actor.said.remote()):
                    self._events.pass_on(event)
                self._beat()
            return self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            print(f"The worker on the cluster is gone: {_last_line(error)}", file=sys.stderr)
            return None

    def _beat(self) -> None:
        self._events.check_cancelled()
        if time.monotonic() - self._last >= BEAT:
            self._last = time.monotonic()
            self._events.heartbeat()


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise DoptError(
            "RAY_MISSING", f"{sys.executable} has no package ray, which --executor ray needs.", kind="environment",
            place=sys.executable, suggestions=[f"{sys.executable} -m pip install ray, in the version of the cluster"]) from error
    try:
        ray.init(address=address, log_to_driver=True, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise DoptError(
            "RAY_CLUSTER", f"There is no Ray cluster to work with at {address}.", kind="environment", place=address,
            found=_last_line(error), suggestions=[
                "Start one: ray start --head, and on further machines ray start --address HOST:PORT",
                "Say where it is: --ray-address HOST:PORT"]) from error
    return ray


def _worker_class(ray: Any) -> Any:
    """The class of actors. Ray sends its code, so it uses nothing of this file."""

    class Worker:
        def __init__(self, package: bytes) -> None:
            import atexit
            import collections
            import shutil
            import tempfile

            folder = tempfile.mkdtemp(prefix="dopt-ray-")
            atexit.register(shutil.rmtree, folder, True)
            with zipfile.ZipFile(io.BytesIO(package)) as packed:
                packed.extractall(folder)
            sys.path.insert(0, folder)
            from dopt.events import Events

            said = self._said = collections.deque()

            self._events = Events()
            self._events._send = said.append  # noqa: SLF001 - a class of its own would not be sent with this one.

        @ray.method(concurrency_group="look")
        def machine(self) -> str:
            import socket

            return socket.gethostname()

        @ray.method(concurrency_group="look")
        def said(self) -> List[Dict[str, Any]]:
            return [self._said.popleft() for _ in range(len(self._said))]

        @ray.method(concurrency_group="work")
        def run(self, line: str) -> Dict[str, Any]:
            from dopt import envelope
            from dopt.methods import resolve

            job = json.loads(line)
            return envelope.run(lambda: resolve(job["method"])(job["params"], self._events))

    return Worker


def _package() -> bytes:
    """dopt's own Python code, packed."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(each for each in folders if each != "__pycache__")
            for name in sorted(files):
                path = os.path.join(folder, name)
                archive.write(path, os.path.join("dopt", os.path.relpath(path, root)))
    return packed.getvalue()


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].strip()


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Without what Ray would do at the end: the cluster ends the actor when this process is gone.
    os._exit(status)
