"""The one exception class that our own Python code raises on purpose."""

from typing import List, Optional

KINDS = ("user", "environment", "external", "bug")


class DoptError(Exception):
    """An error with a stable code, a kind that decides the exit code, and the next step to take.

    code: stable and machine readable, e.g. ``DATA_EMPTY_FOLDER``; the message may change, the code may not.
    kind: ``user`` (input is wrong, exit 3), ``environment`` (the machine lacks something, 4),
        ``external`` (a framework failed, 5) or ``bug`` (an invariant of ours does not hold, 1).
    place: the file, or ``file:line:column``, that the error is about.
    suggestions: what the user can do next, most likely step first.
    found: what there was, when the message alone does not say it.
    """

    def __init__(
        self,
        code: str,
        message: str,
        kind: str = "user",
        place: Optional[str] = None,
        suggestions: Optional[List[str]] = None,
        found: Optional[str] = None,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        # Names from damaged files hold halves of characters, which no terminal and no file takes.
        message = message.encode("utf-8", "backslashreplace").decode()
        super().__init__(message)
        self.code = code
        self.message = message
        self.kind = kind
        self.place = place
        self.suggestions = list(suggestions or [])
        self.found = found


class Cancelled(BaseException):
    """The caller asked the job to stop; unwinds through ``except Exception`` so that nothing swallows it."""


def in_a_line(error: BaseException, characters: int = 300) -> str:
    """What an exception of a library says, in one line of so many characters at most."""
    return " ".join((str(error) or type(error).__name__).split())[:characters]


def is_refusal(error: BaseException) -> bool:
    """Whether a library says no: by an exception, or by a panic of its part in Rust, which Python does not count as one. Full memory and
    the end of the process are something else."""
    return not isinstance(error, MemoryError) and (isinstance(error, Exception) or type(error).__name__ == "PanicException")
