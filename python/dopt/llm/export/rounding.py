"""Floats in the type of a format, and what that rounds away."""

from typing import Any, Dict, Iterable, Tuple

from dopt.errors import DoptError

_SAFETENSORS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
DTYPES = tuple(_SAFETENSORS)


def cast(array: Any, dtype: str) -> Tuple[Any, str]:
    """float32 as ``dtype`` (bfloat16: its uint16 bits), and the safetensors name of it.

    Raises DoptError FLOAT16_RANGE where a finite value is too large for float16.
    """
    import numpy as np

    array = np.ascontiguousarray(array, np.float32)
    if dtype == "float32":
        return array, "F32"
    if dtype == "float16":
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if (np.isinf(half) & np.isfinite(array)).any():
            raise DoptError(
                "FLOAT16_RANGE",
                f"A value of {np.abs(array).max():.6g} does not fit into float16, which ends at 65504.",
                suggestions=["Export with --dtype bfloat16 or float32."],
            )
        return half, "F16"
    bits = array.view(np.uint32)
    # Round half to even; NaN keeps a bit of its payload.
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    nan = np.isnan(array)
    return np.where(nan, (bits >> np.uint32(16)) | np.uint32(0x40), rounded).astype(np.uint16), "BF16"


def uncast(array: Any, dtype: str) -> Any:
    """What ``cast`` made, as float32."""
    from dopt.llm.artifact import as_float32

    return as_float32(array, _SAFETENSORS[dtype])


def largest_change(array: Any, dtype: str) -> float:
    """Largest relative change of an element of float32 by ``cast``; elements are above 0."""
    import numpy as np

    return float(np.max(np.abs(uncast(cast(array, dtype)[0], dtype) / array.astype(np.float64) - 1), initial=0.0))


def scales_note(changes: Dict[str, float], dtype: str) -> Iterable[str]:
    """A sentence where scales were rounded: the layers whose rounding was largest."""
    worst = max(changes, key=lambda name: changes[name], default=None)
    if worst is not None and changes[worst] > 0:
        rounded = sum(change > 0 for change in changes.values())
        yield (
            f"Scales of {rounded} layers are rounded to {dtype}, by {changes[worst]:.2g} of their value at most ({worst}): "
            "weights differ from those of the run by as much."
        )
