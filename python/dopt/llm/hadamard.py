"""Random orthogonal matrices that spread what lies in single channels over all of them, multiplied with in parts."""

from typing import Any, List

#: Sylvester matrices above are products of two: small matrices save multiplications, large ones passes over the numbers.
LARGEST = 128
#: Numbers that are turned at a time: what lies between two of the small products is copied.
AT_ONCE = 1 << 19


class Hadamard:
    """An orthogonal matrix Q, float64 [size, size]: Sylvester's Hadamard matrix for the even part of the size, a random orthogonal
    one for an odd part above 1, and random signs of the columns.

    Without the signs Q is the Kronecker product of small matrices, so a product with it takes for each number the sum of their
    sizes, not ``size`` multiplications.
    """

    def __init__(self, size: int, seed: int, device: Any = "cpu") -> None:
        import numpy as np
        import torch

        random = np.random.RandomState(seed)
        even = size & -size  # the largest power of two that divides it
        odd = size // even
        other = [np.linalg.qr(random.standard_normal((odd, odd)))[0]] if odd > 1 else []
        parts = [_sylvester(each) for each in _split(even)] + other
        self._parts = [torch.from_numpy(each).to(device) for each in parts]
        self._signs = torch.from_numpy(random.choice([-1.0, 1.0], size)).to(device)

    def __len__(self) -> int:
        return len(self._signs)

    def rows(self, matrix: Any) -> Any:
        """x @ Q for each row x of a float64 tensor [..., size]."""
        import torch

        flat = matrix.reshape(-1, len(self))
        turned = torch.empty(flat.shape, dtype=flat.dtype, device=flat.device)
        count = max(1, AT_ONCE // len(self))
        for x, out in zip(flat.split(count), turned.split(count)):
            x = x.reshape(-1, *(len(each) for each in self._parts))
            for part in self._parts:  # each takes the first of the axes that are left and puts what comes of it last
                x = torch.tensordot(x, part, dims=([1], [0]))
            torch.mul(x.reshape(out.shape), self._signs, out=out)
        return turned.reshape(matrix.shape)

    def columns(self, matrix: Any) -> Any:
        """Q.T @ matrix, float64 [size, count]."""
        return self.rows(matrix.t()).t()


def _split(even: int) -> List[int]:
    """A power of two as sizes of matrices."""
    if even <= LARGEST:
        return [even]
    half = 1 << (even.bit_length() // 2)
    return [*_split(even // half), *_split(half)]


def _sylvester(size: int) -> Any:
    """Orthogonal float64 [size, size]."""
    import numpy as np

    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]]) / np.sqrt(2.0)
    return matrix
