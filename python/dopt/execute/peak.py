"""Memory of this process."""

import resource
import sys
from typing import Optional


def peak_bytes() -> int:
    """The largest resident set this process has had, in bytes.

    Linux keeps the value of ``getrusage`` across fork and exec, so a small job started by a large parent would report
    the parent; the high-water mark in /proc belongs to this program alone and is preferred.
    """
    peak = _status_bytes("VmHWM")
    if peak is not None:
        return peak
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024


def resident_bytes() -> int:
    """What this process has in memory now, in bytes; 0 where the system does not say."""
    return _status_bytes("VmRSS") or 0


def _status_bytes(field: str) -> Optional[int]:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith(f"{field}:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
