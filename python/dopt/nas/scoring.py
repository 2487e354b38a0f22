"""What scoring networks has in common in both frameworks: reasons instead of scores, and files that are whole or not there."""

import math
import os
from typing import Any, Callable, Dict, List

from dopt.errors import DoptError
from dopt.nas.user import names


def scored(
    networks: List[Dict[str, Any]],
    judge: Callable[[Dict[str, Any]], float],
    is_full: Callable[[Exception], bool],
    events: Any,
) -> Dict[str, Any]:
    """A verdict for each network: METHODS.nasScore in src/bridge/protocol.ts.

    ``is_full``: whether an error says that memory ran out; it frees what can be freed. Such a network, and one whose loss
    or score is no number, has a reason instead of a score.
    """
    results: List[Dict[str, Any]] = []
    for index, candidate in enumerate(networks):
        events.progress(index, len(networks), names(candidate["layers"]))
        score, reason = _verdict(lambda: judge(candidate), is_full)
        results.append({"key": candidate["key"], "score": score, "reason": reason})
    return {"results": results}


def _verdict(judge: Callable[[], float], is_full: Callable[[Exception], bool]) -> Any:
    try:
        value = judge()
    except DoptError as error:
        if error.code != "NAS_LOSS":
            raise
        return None, "not-a-number"
    except Exception as error:  # noqa: BLE001 - both frameworks have errors of their own for memory that ran out.
        if not (isinstance(error, MemoryError) or is_full(error)):
            raise
        return None, "out-of-memory"
    return (value, None) if math.isfinite(value) else (None, "not-a-number")


def write_whole(path: str, write: Callable[[Any], None]) -> None:
    """Writes a file that is on the disk as a whole or not there; ``write`` gets it open for bytes."""
    partial = f"{path}.partial"
    with open(partial, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
