"""Arrays as raw files, little-endian and row-major, for readers outside Python."""

from typing import Any, Dict

from dopt.errors import DoptError


def write_raw(path: str, array: Any) -> Dict[str, Any]:
    """Writes an array; returns its path, dtype and shape. Raises DoptError OUTPUT_WRITE (environment)."""
    import numpy as np

    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    try:
        with open(path, "wb") as file:
            file.write(little.reshape(-1).view(np.uint8).data)
    except OSError as error:
        raise write_error(path, error) from error
    return {"path": path, "dtype": array.dtype.name, "shape": list(array.shape)}


def write_error(path: str, error: OSError) -> DoptError:
    """The error for a file that cannot be written."""
    return DoptError(
        "OUTPUT_WRITE",
        f"Cannot write {path}: {error.strerror or error}.",
        kind="environment",
        place=path,
        suggestions=["Free some disk space, or name an output folder that you may write to."],
    )
