"""Memory of a run: what of it can be known from the files, and glibc's habits. src/llm/memory.ts promises how much is needed."""

from typing import Any

from dopt.execute.peak import resident_bytes

#: Parameters of glibc's mallopt.
_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1
#: Freed memory that a process of this size and less keeps: getting it back anew costs a quarter of a second a gigabyte.
KEPT_BYTES = 2 << 30


def return_freed_memory() -> None:
    """Makes glibc serve all threads from one heap and, above ``KEPT_BYTES``, give freed blocks back to the system.

    Otherwise every thread keeps what it freed, and a process that works block by block grows with the number of blocks.
    """
    import ctypes

    try:
        library = ctypes.CDLL(None)
        library.mallopt(_ARENA_MAX, 1)
        library.mallopt(_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(_TRIM_THRESHOLD, KEPT_BYTES - 1)
        if resident_bytes() > KEPT_BYTES:
            library.malloc_trim(0)
    except (OSError, AttributeError):
        pass  # another C library


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
