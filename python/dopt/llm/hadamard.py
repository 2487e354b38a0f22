"""Random orthogonal matrices that spread what lies in single channels over all of them, multiplied with in parts."""

from typing import Any, List

from dopt.llm.product import multiply

#: Sylvester matrices above are products of two: small matrices save multiplications, large ones passes over the numbers.
LARGEST = 128
#: Numbers that are turned at a time: what lies between two of the small products is copied.
AT_ONCE = 1 << 19


class Hadamard:
    """An orthogonal matrix Q [size, size]: Sylvester's Hadamard matrix for the even part of the size, a random orthogonal one for an
    odd part above 1, and random signs of the columns.

    Without the signs Q is the Kronecker product of small matrices, so a product with it takes for each number the sum of their
    sizes, not ``size`` multiplications. Products are of the type that is given: float32 for weights that are rounded next.
    """

    def __init__(self, size: int, seed: int, device: Any = "cpu") -> None:
        import numpy as np
        import torch

        random = np.random.RandomState(seed)
        even = size & -size  # the largest power of two that divides it
        odd = size // even
        other = [np.linalg.qr(random.standard_normal((odd, odd)))[0]] if odd > 1 else []
        parts = [_sylvester(each) for each in _split(even)] + other
        #: The small matrices, turned over as ``multiply`` takes them, and the signs, by type.
        self._own = {torch.float64: [torch.from_numpy(each.T.copy()).to(device) for each in parts]}
        self._signs = {torch.float64: torch.from_numpy(random.choice([-1.0, 1.0], size)).to(device)}
        self._own[torch.float32] = [each.float() for each in self._own[torch.float64]]
        self._signs[torch.float32] = self._signs[torch.float64].float()
        self._size = size

    def __len__(self) -> int:
        return self._size

    def rows(self, matrix: Any) -> Any:
        """x @ Q for each row x of a float32 or float64 tensor [..., size]."""
        import torch

        flat = matrix.reshape(-1, len(self))
        turned = torch.empty(flat.shape, dtype=flat.dtype, device=flat.device)
        count = max(1, AT_ONCE // len(self))
        parts, signs = self._own[flat.dtype], self._signs[flat.dtype]
        for x, out in zip(flat.split(count), turned.split(count)):
            x = x.reshape(-1, *(len(each) for each in parts))
            for part in parts:  # each takes the first of the axes that are left and puts what comes of it last
                x = multiply(x.movedim(1, -1), part)
            torch.mul(x.reshape(out.shape), signs, out=out)
        return turned.reshape(matrix.shape)

    def columns(self, matrix: Any) -> Any:
        """Q.T @ matrix, float32 or float64 [size, count]."""
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
