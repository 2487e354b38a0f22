"""Peak memory of this process."""

import resource
import sys


def peak_bytes() -> int:
    """The largest resident set this process has had, in bytes.

    Linux keeps the value of ``getrusage`` across fork and exec, so a small job started by a large parent would report
    the parent; the high-water mark in /proc belongs to this program alone and is preferred.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024
