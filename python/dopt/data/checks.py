"""What is wrong with a sample's values: NaN and infinities, constant samples, samples that are all the same."""

from typing import Any, Dict, List, Optional

from dopt.errors import DoptError

_NAMED = 10


def check_finite(feeds: Dict[str, Any], place: str) -> None:
    """Raises DoptError(DATA_NOT_FINITE) when a floating-point input holds NaN or an infinity."""
    import numpy as np

    for name, array in feeds.items():
        # A finite sum proves that all values are finite and needs no array of flags.
        with np.errstate(over="ignore", invalid="ignore"):
            if array.dtype.kind != "f" or np.isfinite(array.sum()):
                continue
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            kind = "NaN" if np.isnan(array.reshape(-1)[bad[0]]) else "infinite"
            raise DoptError(
                "DATA_NOT_FINITE",
                f"{place}: {bad.size} of {array.size} values for input {name!r} are not finite; "
                f"the first is {kind}, at element {int(bad[0])}.",
                place=place,
                suggestions=["Mend the data (a standard deviation of 0 gives such values), or go on without: --skip-bad"],
            )


def is_constant(feeds: Dict[str, Any]) -> bool:
    """Whether every floating-point input (of more than one element) holds a single value."""
    arrays = [array.reshape(-1) for array in feeds.values() if array.dtype.kind == "f" and array.size > 1]
    return bool(arrays) and all(
        array[0] == array[-1] and array[0] == array[array.size // 2] and bool((array == array[0]).all())
        for array in arrays
    )


class Monitor:
    """Watches samples go by and sums up what a user should know. Memory does not grow with the number of samples."""

    def __init__(self) -> None:
        self._first: Optional[Dict[str, Any]] = None
        self._count = 0
        self._constant_count = 0
        self._constant: List[str] = []

    def see(self, name: str, feeds: Dict[str, Any]) -> None:
        """Takes note of one sample. Keeps the first one until another differs from it."""
        import numpy as np

        self._count += 1
        if self._count == 1:
            self._first = feeds
        elif self._first is not None:
            if any(not np.array_equal(self._first[key], array) for key, array in feeds.items()):
                self._first = None
        if is_constant(feeds):
            self._constant_count += 1
            if self._constant_count <= _NAMED:
                self._constant.append(name)

    def warnings(self) -> List[str]:
        """One sentence for each thing found."""
        found = []
        if self._constant_count:
            more = self._constant_count - len(self._constant)
            named = ", ".join(self._constant) + (f" and {more} more" if more else "")
            found.append(f"{self._constant_count} of {self._count} samples hold one single value throughout: {named}")
        if self._count > 1 and self._first is not None:
            found.append(f"all {self._count} samples are identical; calibration needs different ones")
        return found
