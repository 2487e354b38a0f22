"""Memory of a run: what of it can be known from the files, and glibc's habits. src/llm/memory.ts promises how much is needed."""

import os
from typing import Any

from dopt.execute.peak import resident_bytes

#: Parameters of glibc's mallopt.
_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1
#: Before as much is taken in one piece, all that was freed goes back: what is done with it takes far longer.
LARGE_BYTES = 24 << 20
#: Freed memory that is kept, and from which size on pieces lie apart from the heap and go back as soon as they are freed: where
#: what is taken next is large, and where it is not. To get memory anew costs a quarter of a second a gigabyte, a fifth of the
#: time of a small model; 4 % of that of a large one, which otherwise grows by 0.1 GB over its blocks, as pieces of 2 to 8 MB keep
#: the heap from giving back what lies between them.
LARGE_KEPT, LARGE_APART = 256 << 20, 2 << 20
SMALL_KEPT, SMALL_APART = 1 << 30, 32 << 20


def keep_no_buffers() -> None:
    """Tells MKL, before it multiplies for the first time, to free what it packs matrices into: it would keep 9 MB for each thread,
    and every pass that waits is one."""
    os.environ.setdefault("MKL_DISABLE_FAST_MM", "1")


def return_freed_memory(needed: int = 0) -> None:
    """Makes glibc serve all threads from one heap, and gives freed memory back to the system where there is much of it or where
    ``needed`` bytes are taken next.

    Otherwise every thread keeps what it freed, and a process that works block by block grows with the number of blocks.
    """
    import ctypes

    try:
        library = ctypes.CDLL(None)
        library.mallopt(_ARENA_MAX, 1)
        kept, apart = (LARGE_KEPT, LARGE_APART) if needed >= LARGE_BYTES else (SMALL_KEPT, SMALL_APART)
        library.mallopt(_MMAP_THRESHOLD, apart)
        library.mallopt(_TRIM_THRESHOLD, kept)
        if needed >= LARGE_BYTES or _freed_bytes(library) > kept:
            library.malloc_trim(0)
    except (OSError, AttributeError):
        pass  # another C library


def make_room(needed: int) -> None:
    """Gives freed memory back where much is taken next. To ask how much lies there takes a sixtieth of a second in a heap of many
    pieces: too long for every step of a block."""
    if needed >= LARGE_BYTES:
        return_freed_memory(needed)


def _freed_bytes(library: Any) -> int:
    """What the heap holds and nobody uses; for glibc before 2.33 all that the process holds."""
    import ctypes

    class Told(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in _MALLINFO]

    try:
        library.mallinfo2.restype = Told
        return int(library.mallinfo2().fordblks)
    except AttributeError:
        return resident_bytes()


_MALLINFO = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


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
