"""Cholesky factors in the memory of the matrix they are made of, so that sums over a wide layer's inputs exist once.

A symmetric matrix is held whole: its factor takes the lower triangle with the diagonal, and the upper one keeps what ``restore``
brings back. Blocked algorithms as in Golub and Van Loan, Matrix Computations, sections 3.1.4 and 4.2.6, on tensors [n, n] float64
or float32 of any device; sums run in an order that depends on n alone.
"""

from typing import Any, Iterator

#: Columns that are brought up to date by one product, and rows and columns that are turned over at a time.
BLOCK = 256
#: Columns of a factor that are found together.
PANEL = 96


def mirror(matrix: Any) -> None:
    """Copies the lower triangle to the upper one; blocks on the diagonal are whole already (``gram.COLUMNS``, not below BLOCK)."""
    for first, last in _blocks(len(matrix)):
        matrix[first:last, last:] = matrix[last:, first:last].t()


def restore(matrix: Any, diagonal: Any) -> None:
    """The symmetric matrix again, from its upper triangle and its diagonal [n]."""
    import torch

    for first, last in _blocks(len(matrix)):
        block = matrix[first:last, first:last]
        upper = torch.triu(block, 1)
        block.copy_(upper + upper.t())
        matrix[last:, first:last] = matrix[first:last, last:].t()
    torch.diagonal(matrix).copy_(diagonal)


def reorder(matrix: Any, order: Any) -> None:
    """Rows and columns of a symmetric matrix in another order [n] int64: columns, turned over, columns."""
    for _ in range(2):
        for first, last in _blocks(len(matrix)):
            matrix[first:last] = matrix[first:last].index_select(1, order)
        _turn_over(matrix)


def factorize(matrix: Any) -> bool:
    """L with matrix = L L^T, in the lower triangle; False where there is none, the lower triangle is destroyed then.

    What is below a block is multiplied with the inverse of the block's factor, which is faster than to solve with it.
    """
    import torch

    identity = torch.eye(PANEL, dtype=matrix.dtype, device=matrix.device)
    for first, last in _blocks(len(matrix), PANEL):
        own, before = matrix[first:last, first:last], matrix[first:last, :first]
        factor, info = torch.linalg.cholesky_ex(own.addmm(before, before.t(), alpha=-1) if first else own)
        if int(info) != 0 or not bool(torch.isfinite(torch.diagonal(factor)).all()):
            return False
        own.copy_(torch.triu(own, 1) + factor)
        if last < len(matrix):
            below = matrix[last:, first:last]
            if first:
                below.addmm_(matrix[last:, :first], before.t(), alpha=-1)
            inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
            below.copy_(below @ inverse.t())
    return True


def solve_rows(matrix: Any, rows: Any) -> None:
    """rows [m, n] := rows (L L^T)^-1, in place, with L in the lower triangle of ``matrix``."""
    import torch

    blocks = list(_blocks(len(matrix)))
    for first, last in blocks:
        part = rows[:, first:last]
        if first:
            part.addmm_(rows[:, :first], matrix[first:last, :first].t(), alpha=-1)
        factor = torch.tril(matrix[first:last, first:last])
        part.copy_(torch.linalg.solve_triangular(factor.t(), part, upper=True, left=False))
    for first, last in reversed(blocks):
        part = rows[:, first:last]
        if last < len(matrix):
            part.addmm_(rows[:, last:], matrix[last:, first:last], alpha=-1)
        factor = torch.tril(matrix[first:last, first:last])
        part.copy_(torch.linalg.solve_triangular(factor, part, upper=False, left=False))


def _turn_over(matrix: Any) -> None:
    blocks = list(_blocks(len(matrix)))
    for index, (first, last) in enumerate(blocks):
        rows = slice(first, last)
        matrix[rows, rows] = matrix[rows, rows].t().clone()
        for other, end in blocks[index + 1 :]:
            columns = slice(other, end)
            above = matrix[rows, columns].t().clone()
            matrix[rows, columns] = matrix[columns, rows].t()
            matrix[columns, rows] = above


def _blocks(size: int, step: int = BLOCK) -> Iterator[Any]:
    for first in range(0, size, step):
        yield first, min(first + step, size)
