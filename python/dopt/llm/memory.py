"""How much memory quantization needs, said before it starts."""

from typing import Any, Dict, List, Optional

from dopt.errors import DoptError
from dopt.llm.families import Linear

#: Square matrices of float64 with a side of a linear's inputs that exist at once: sums, factors, and the copies of
#: PyTorch and of the native core while they are made.
SQUARES, SQUARES_CROSS = 5, 7
#: Parameters of glibc's mallopt.
_ARENA_MAX, _MMAP_THRESHOLD = -8, -3


def promise(
    linears: List[Linear], stored_bytes: int, batch: Dict[str, int], cross: bool, start: int
) -> int:
    """Bytes at the most.

    linears: those of the largest block. stored_bytes: that block as it is kept in memory. batch:
    ``tokens`` of the whole calibration text, ``together`` of one batch times threads, ``width``. start: what the process
    has before the first block, everything outside of the blocks included.
    """
    most = max(linear.shape[1] for linear in linears)
    widest = max(sum(linear.shape[0] for linear in linears if linear.shape[1] == side) for side in {each.shape[1] for each in linears})
    integers = sum(linear.shape[0] * linear.shape[1] for linear in linears)
    largest = max(linear.shape[0] * linear.shape[1] for linear in linears)
    squares = 8 * most * most * (SQUARES_CROSS if cross else SQUARES)
    states = 4 * 2 * batch["tokens"] * batch["width"]
    passing = 4 * batch["together"] * (2 * widest + 6 * batch["width"])
    solving = 4 * 3 * largest + 256 * 1024 * 1024 // 2
    return int(start + stored_bytes + integers + max(squares + solving, passing) + states)


def check(promised: int, limit: Optional[float]) -> None:
    """Raises DoptError LLM_MEMORY when more is needed than may be used."""
    if limit is not None and promised > limit:
        raise DoptError(
            "LLM_MEMORY",
            f"This needs {promised / 1e9:.2f} GB, and {limit / 1e9:.2f} GB may be used.",
            kind="environment",
            suggestions=["Use fewer or shorter calibration samples, or leave out the cross term (--no-cross).", "Raise --memory."],
            found=f"{promised} bytes",
        )


def return_freed_memory() -> None:
    """Makes glibc give large freed blocks back to the system and serve all threads from one heap.

    Otherwise every thread keeps what it freed, and a process that works block by block grows with the number of blocks.
    """
    import ctypes

    try:
        library = ctypes.CDLL(None)
        library.mallopt(_ARENA_MAX, 1)
        library.mallopt(_MMAP_THRESHOLD, 4 << 20)
        library.malloc_trim(0)
    except (OSError, AttributeError):
        pass  # another C library


def resident_bytes() -> int:
    """What this process has in memory now."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def stored_block_bytes(source: Any, prefix: str) -> int:
    """A block as it is kept in memory: linears in the type of the file, all else float32."""
    total = 0
    for name, shape in source.names.items():
        if not name.startswith(f"{prefix}."):
            continue
        elements = 1
        for size in shape:
            elements *= size
        place = None if source.whole else source.place(name)
        per_element = 4 if place is None or len(shape) != 2 else (place.entry.end - place.entry.start) // max(1, elements)
        total += per_element * elements
    return total
