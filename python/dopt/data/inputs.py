"""What a model's inputs ask of a sample: which shapes fit, and how values are brought to the input's type."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from dopt.errors import DoptError

Dim = Union[int, str, None]
Shape = Tuple[int, ...]

#: Largest single sample that is read, in bytes of one input. A compressed file may claim any size.
MAX_SAMPLE_BYTES = 1 << 30
#: Most samples listed from one file.
MAX_ROWS = 10_000_000

_DTYPES = ("float32", "float16", "float64", "bool") + tuple(f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64))


class Input(NamedTuple):
    """One graph input: ``dtype`` by numpy name; ``shape`` holds numbers, symbolic names or None, or is None itself."""

    name: str
    dtype: str
    shape: Optional[Tuple[Dim, ...]]

    def text(self) -> str:
        """The shape for a message, e.g. ``[N, 3, 224, 224]``."""
        return "any shape" if self.shape is None else shape_text(self.shape)


class Rows(NamedTuple):
    """How an array splits into samples: ``count`` consecutive blocks of shape ``shape`` (batch dimension included)."""

    count: int
    shape: Shape


def parse_inputs(values: Sequence[Dict[str, Any]]) -> List[Input]:
    """Inputs from the ``inputs`` of a data source. Raises DoptError(DATA_INPUT_TYPE) for types that no file can feed."""
    inputs = []
    for value in values:
        if value["dtype"] not in _DTYPES:
            raise DoptError(
                "DATA_INPUT_TYPE",
                f"The model's input {value['name']!r} has type {value['dtype']}, which data files cannot feed.",
                suggestions=["Cut the model behind that input, or cast it to a numeric type inside the model."],
            )
        shape = None if value["shape"] is None else tuple(value["shape"])
        inputs.append(Input(value["name"], value["dtype"], shape))
    return inputs


def shape_text(shape: Sequence[Dim]) -> str:
    """``[1, 3, N, ?]``"""
    return "[%s]" % ", ".join("?" if dim is None else str(dim) for dim in shape)


def fits(wanted: Sequence[Dim], found: Sequence[int]) -> bool:
    """Whether a shape fits: same rank, and every fixed dimension equal."""
    return len(wanted) == len(found) and all(not isinstance(w, int) or w == f for w, f in zip(wanted, found))


def split(shape: Shape, wanted: Optional[Sequence[Dim]], stacked: bool) -> Optional[Rows]:
    """How an array of ``shape`` holds samples for an input of shape ``wanted``; None when it does not fit.

    - one dimension more than the input: a stack, every row a whole feed;
    - the same rank: the first dimension is the batch; it is cut into single samples (into blocks of the input's own
      batch size when that is fixed);
    - one dimension less: one sample without its batch dimension.

    With an input of unknown rank, ``stacked`` arrays are cut along their first dimension and others taken whole.
    """
    if wanted is None:
        if stacked and shape:
            return Rows(shape[0], (1,) + shape[1:])
        return Rows(1, shape)
    rank = len(wanted)
    if len(shape) == rank + 1 and fits(wanted, shape[1:]):
        return Rows(shape[0], shape[1:])
    if len(shape) == rank and rank > 0 and fits(wanted[1:], shape[1:]):
        block = wanted[0] if isinstance(wanted[0], int) and wanted[0] > 0 else 1
        if shape[0] % block == 0:
            return Rows(shape[0] // block, (block,) + shape[1:])
    if len(shape) == rank == 0:
        return Rows(1, ())
    if len(shape) == rank - 1 and fits(wanted, (1,) + shape):
        return Rows(1, (1,) + shape)
    return None


def element_count(shape: Sequence[int]) -> int:
    """Product of the dimensions, in exact integers."""
    count = 1
    for extent in shape:
        count *= extent
    return count


def check_rows(rows: Rows, itemsize: int, place: str) -> None:
    """Raises DoptError when a split has no elements or is too large to be meant."""
    elements = element_count(rows.shape)
    if rows.count * elements == 0:
        raise DoptError("DATA_EMPTY_ARRAY", f"{place} holds an array without elements.", place=place)
    if elements * itemsize > MAX_SAMPLE_BYTES or rows.count > MAX_ROWS:
        raise DoptError(
            "DATA_TOO_LARGE",
            f"{place} holds {rows.count} samples of {elements * itemsize} bytes each; "
            f"at most {MAX_ROWS} samples of {MAX_SAMPLE_BYTES} bytes are read.",
            place=place,
            suggestions=["Check that the file is whole, or split it into smaller files."],
        )


def cast(array: Any, dtype: str, place: str, name: str) -> Any:
    """``array`` as C-contiguous ``dtype``, when that loses no meaning.

    Floating types convert into each other (finite values must stay finite); integers convert to floating types;
    anything converts to an integer type when all its values are whole and inside that type's range, and to bool when
    they are 0 or 1. Raises DoptError(DATA_CAST) otherwise.
    """
    import numpy as np

    target = np.dtype(dtype)
    if array.dtype == target:
        return np.ascontiguousarray(array)
    if array.dtype.kind not in "fiub":
        raise _cast_error(place, name, array.dtype, dtype, "that type holds no plain numbers")
    if target.kind == "f":
        with np.errstate(over="ignore"):
            result = np.ascontiguousarray(array, target)
        if array.dtype.kind == "f" and not np.array_equal(np.isfinite(array), np.isfinite(result)):
            raise _cast_error(place, name, array.dtype, dtype, f"values reach {float(np.nanmax(np.abs(array))):g}")
        return result
    low, high = (0, 1) if target.kind == "b" else (np.iinfo(target).min, np.iinfo(target).max)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or not (array == np.rint(array)).all():
            raise _cast_error(place, name, array.dtype, dtype, "not all values are whole numbers")
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        raise _cast_error(place, name, array.dtype, dtype, f"values reach {array.min()} to {array.max()}")
    return np.ascontiguousarray(array, target)


def _cast_error(place: str, name: str, found: Any, wanted: str, reason: str) -> DoptError:
    return DoptError(
        "DATA_CAST",
        f"{place}: input {name!r} takes {wanted} but the data is {found}, and {reason}.",
        place=place,
        suggestions=[f"Store the array as {wanted}."],
    )
