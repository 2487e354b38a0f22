"""One array inside a file, read block by block without loading the rest."""

from typing import Any, BinaryIO, Callable, NamedTuple, Optional, Tuple

from dopt.data.inputs import MAX_SAMPLE_BYTES, Rows, element_count
from dopt.errors import DoptError


class StoredArray(NamedTuple):
    """An array in C order (or Fortran order) that starts ``offset`` bytes into the stream that ``open`` gives.

    ``open`` is called lazily and may give a decompressing stream; seeking forward in that is cheap, backward is not.
    With ``channels_last`` the file holds […, C, H, W] and samples are handed out as […, H, W, C].
    """

    open: Callable[[], BinaryIO]
    offset: int
    dtype: Any
    shape: Tuple[int, ...]
    fortran: bool = False
    channels_last: bool = False

    def sample_shape(self) -> Tuple[int, ...]:
        """The shape as it is handed out."""
        if not self.channels_last:
            return self.shape
        return self.shape[:-3] + self.shape[-2:] + self.shape[-3:-2]


class BlockReader:
    """Reads the samples of a stored array; sequential access is fast for every kind of file."""

    def __init__(self, array: StoredArray, rows: Rows, place: str) -> None:
        self._array, self._rows, self._place = array, rows, place
        self._stream: Optional[BinaryIO] = None
        self._whole: Any = None

    def read(self, row: int) -> Any:
        """Sample ``row`` as a fresh array of the file's own dtype. Raises DoptError(DATA_CORRUPT)."""
        try:
            return self._block(row)
        except DoptError:
            raise
        except Exception as error:  # zlib, zipfile and numpy raise many types on damaged files
            raise corrupt(self._place, f"{error}" or type(error).__name__) from error

    def close(self) -> None:
        """Closes the file; a later read opens it again."""
        if self._stream is not None:
            self._stream.close()
        self._stream = self._whole = None

    def _block(self, row: int) -> Any:
        import numpy as np

        elements = element_count(self._rows.shape)
        if self._array.fortran and len(self._array.shape) > 1:
            # The elements of a sample are scattered over the file, so there is no block to read.
            if self._whole is None:
                self._whole = self._load_fortran().reshape(-1)
            return self._whole[row * elements : (row + 1) * elements].reshape(self._rows.shape)
        if self._stream is None:
            self._stream = self._array.open()
        size = elements * self._array.dtype.itemsize
        self._stream.seek(self._array.offset + row * size)
        data = read_exactly(self._stream, size)
        block = np.frombuffer(data, self._array.dtype)
        if not self._array.channels_last:
            return block.reshape(self._rows.shape)
        head, (height, width, channels) = self._rows.shape[:-3], self._rows.shape[-3:]
        return np.moveaxis(block.reshape(head + (channels, height, width)), -3, -1)

    def _load_fortran(self) -> Any:
        import numpy as np

        size = element_count(self._array.shape) * self._array.dtype.itemsize
        if size > MAX_SAMPLE_BYTES:
            raise DoptError(
                "DATA_TOO_LARGE",
                f"{self._place} stores {size} bytes in Fortran order, which cannot be read sample by sample.",
                place=self._place,
                suggestions=["Save it in C order: numpy.save(path, numpy.ascontiguousarray(array))"],
            )
        with self._array.open() as stream:
            stream.seek(self._array.offset)
            flat = np.frombuffer(read_exactly(stream, size), self._array.dtype)
        return np.ascontiguousarray(flat.reshape(self._array.shape, order="F"))


def read_exactly(stream: BinaryIO, size: int) -> bytearray:
    """``size`` bytes, or EOFError when the stream ends before."""
    data = bytearray()
    while len(data) < size:
        piece = stream.read(min(size - len(data), 1 << 24))
        if not piece:
            raise EOFError(f"the data ends {size - len(data)} bytes early")
        data += piece
    return data


def corrupt(place: str, reason: str) -> DoptError:
    """The error for an array file that is damaged or is no such file at all."""
    return DoptError(
        "DATA_CORRUPT",
        f"{place} cannot be read: {reason}.",
        place=place,
        suggestions=["Write the file again, or go on without it: --skip-bad"],
    )
