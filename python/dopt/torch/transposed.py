"""Output padding of a transposed convolution from a wanted output size, whatever the version of torch calls it with."""

import inspect
from typing import Any, List

from torch import Tensor


def output_padding(layer: Any, x: Tensor, output_size: List[int]) -> Any:
    """As nn.ConvTransposeNd.forward computes it for ``output_size``."""
    spatial = layer.weight.dim() - 2
    known = {
        "input": x,
        "output_size": output_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "kernel_size": layer.kernel_size,
        "num_spatial_dims": spatial,
        "dilation": layer.dilation,
    }
    wanted = inspect.signature(layer._output_padding).parameters
    return layer._output_padding(**{name: known[name] for name in wanted})
