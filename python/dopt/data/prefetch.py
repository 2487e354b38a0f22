"""Reading ahead: the next samples are decoded while the current one is in use."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Deque, Iterable, Iterator, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(items: Iterable[T], read: Callable[[T], R], workers: int) -> Iterator["Future[R]"]:
    """Futures of ``read(item)`` in the order of ``items``; at most ``workers`` + 1 results are waiting at a time.

    With one worker, reads happen one after the other in order. Ending the iteration early stops the reading.
    """
    pending: Deque["Future[R]"] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="dopt-read")
    try:
        for item in items:
            pending.append(pool.submit(read, item))
            if len(pending) > workers:
                yield pending.popleft()
        while pending:
            yield pending.popleft()
    finally:
        for future in pending:
            future.cancel()
        pool.shutdown(wait=True)
