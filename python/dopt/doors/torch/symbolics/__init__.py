"""Operators of torch that its exporter lacks or gets wrong at opset 13, each as the ONNX operators that compute the same numbers.

They stand at the level of torch's own operators, so that a call is found whichever way a network makes it: as a function, a
method, with a trailing underscore, in TorchScript.
"""

from dopt.doors.torch.symbolics import elementwise, pooling, products, reductions, sampling, shapes  # noqa: F401 - they fill the table.
from dopt.doors.torch.symbolics.registry import TABLE, symbolics

__all__ = ["TABLE", "symbolics"]
