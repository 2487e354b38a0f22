"""Rows of a linear that are rounded together: the outputs of a head, whose errors attention does not weigh alike."""

from typing import Any, Optional

#: Of the mean diagonal, added to a head's information before it is factorized.
DAMPING = 0.1


class Heads:
    """Forms over the outputs of each head, [heads, width, width] (``dopt.llm.fisher``), made ready to round and to judge with.

    Heads that nothing is known of (the values of a linear that makes queries, keys and values) have the identity.
    """

    def __init__(self, information: Any) -> None:
        import torch

        diagonal = information.diagonal(dim1=1, dim2=2)
        mean = diagonal.mean(dim=1)
        known = mean > 0
        scale = mean[known].mean()
        own = torch.eye(information.shape[1], dtype=information.dtype, device=information.device)
        form = torch.where(known[:, None, None], information / scale, own)
        form = form + DAMPING * torch.where(known, mean / scale, torch.ones_like(mean))[:, None, None] * own
        self.width = len(own)
        inner = torch.sort(form.diagonal(dim1=1, dim2=2), dim=1, stable=True).indices
        #: Rows in the order of rounding, which begins with the last of each head: what errors cost most there.
        self.order = (inner + self.width * torch.arange(len(form), device=form.device)[:, None]).flatten()
        rows = torch.arange(len(form), device=form.device)[:, None, None]
        self._factors = torch.linalg.cholesky(form[rows, inner[:, :, None], inner[:, None, :]])
        self._roots = torch.linalg.cholesky(form).float()

    def weighed(self, errors: Any, rows: slice) -> Any:
        """Errors of the outputs ``rows``, float [tokens, outputs], such that their squares sum to the form: whole heads."""
        heads = slice(rows.start // self.width, rows.stop // self.width)
        parts = errors.reshape(len(errors), -1, self.width).transpose(0, 1)
        return (parts @ self._roots[heads].to(errors.dtype)).transpose(0, 1).reshape(errors.shape)

    def round(self, solver: Any, order: Any, factor: Any, target: Any, grid: Any, scales: Any, rows: slice) -> Any:
        """``gram_round`` of ``dopt.llm.rows`` for the rows ``rows`` of a linear: whole heads."""
        import torch

        own = self.order[rows] - rows.start
        heads = self._factors[rows.start // self.width : rows.stop // self.width].contiguous()
        found = solver.gram_round(order, factor, target[own].contiguous(), grid, scales[own].contiguous(), heads)
        integers = torch.empty_like(found)
        integers[own] = found
        return integers


def heads_of(information: Optional[Any]) -> Optional[Heads]:
    """None where nothing is known, or nothing that makes sense."""
    import torch

    if information is None or not bool(torch.isfinite(information).all()) or not float(information.diagonal(dim1=1, dim2=2).sum()) > 0:
        return None
    return Heads(information)
