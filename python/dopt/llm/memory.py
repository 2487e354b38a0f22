"""How much memory quantization needs, said before it starts."""

from typing import Any, List, NamedTuple, Optional

from dopt.errors import DoptError
from dopt.llm.families import Linear
from dopt.llm.gram import HELD_TOKENS
from dopt.llm.solve import TARGET_BYTES

#: Square matrices of float64 with a side of a linear's inputs that exist at once: sums, factors, and the copies of
#: PyTorch and of the native core while they are made.
SQUARES, SQUARES_CROSS = 6, 8
#: Passes wait in lockstep when what they hold is not more, or not more than a quarter of what may be used.
LOCKSTEP_BYTES = 2 << 30
#: Parameters of glibc's mallopt.
_ARENA_MAX, _MMAP_THRESHOLD = -8, -3


class Plan(NamedTuple):
    """What a run will do, as far as memory is concerned."""

    linears: List[Linear]  # of the largest block
    stored: int  # bytes of that block as it is kept
    tokens: int  # of the whole calibration text
    together: int  # tokens that pass through a block at once
    length: int  # of a sample
    width: int  # of the hidden states
    heads: int
    cross: bool
    head: int  # outputs of the head where it is quantized, else 0
    start: int  # bytes of the process before the first block, everything outside of the blocks included


def waiting_bytes(plan: Plan) -> int:
    """What passes hold that wait in lockstep: attention weights before and behind softmax, and what linears work on."""
    widest = max(linear.shape[0] for linear in plan.linears)
    each = 2 * plan.heads * plan.length + 6 * plan.width + 2 * widest
    return 4 * 2 * plan.tokens * each


def promise(plan: Plan, lockstep: bool) -> int:
    """Bytes at the most."""
    most = max(linear.shape[1] for linear in plan.linears)
    widest = max(linear.shape[0] for linear in plan.linears)
    integers = sum(linear.shape[0] * linear.shape[1] for linear in plan.linears)
    largest = max(linear.shape[0] * linear.shape[1] for linear in plan.linears)
    squares = 8 * most * most * (SQUARES_CROSS if plan.cross else SQUARES)
    states = 4 * 3 * plan.tokens * plan.width  # of one model twice, while it moves on
    passing = 4 * plan.together * (3 * plan.heads * plan.length + 6 * plan.width + 4 * widest)
    if lockstep:
        passing = max(passing, waiting_bytes(plan))
    solving = 4 * 3 * largest + 2 * TARGET_BYTES
    block = plan.stored + integers + squares + solving + passing
    # The head's weights, as read, rounded and judged, and its outputs for the tokens that judge.
    head = plan.head * (4 * 4 * plan.width + 2 * 4 * HELD_TOKENS) + 8 * SQUARES * plan.width**2
    return int(plan.start + states + max(block, head if plan.head else 0))


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
