"""A linear over integers that stay in their file while its scales are trained.

They are read when it computes, forwards and once more backwards, and let go behind it: training holds the scales, what
lies between layers, and the float weights of one linear at a time, whatever the size of the model and in every process of
a group. What FSDP does for weights that change, each process sharing them out and asking the others, needs no exchange for
weights that do not.
"""

from typing import Any, Callable, Optional

#: Of the free memory of a GPU, the share that integers may take to stay there.
RESIDENT = 0.25


def stays_on(device: Any, weights: int) -> bool:
    """Whether that many integers of 8 bits are kept on a device instead of being sent there each time."""
    import torch

    return device.type == "cuda" and weights < RESIDENT * torch.cuda.mem_get_info(device)[0]


def scaled_linear(read: Callable[[], Any], scales: Any, bias: Optional[Any], device: Any, stays: bool = False) -> Any:
    """A module y = (integers * scales * factor) x + bias with a trainable ``factor`` [outputs, groups], 1 at first.

    ``read`` gives the integers, int8 [outputs, inputs] as numpy; scales: float32 [outputs, groups], numpy; ``stays``: they are
    read once and kept on the device.
    """
    import numpy as np
    import torch

    def integers_of(array: Any) -> Any:
        return torch.from_numpy(np.array(array)).to(device)

    class ScaledLinear(torch.nn.Module):
        """Made by ``scaled_linear``."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scales", torch.from_numpy(np.array(scales)).to(device))
            self.factor = torch.nn.Parameter(torch.ones(scales.shape, device=device))
            self.bias = bias
            self._kept = integers_of(read()) if stays else None

        def groups(self) -> Any:
            """float32 [outputs, groups, inputs of a group]: the integers."""
            integers = integers_of(read()) if self._kept is None else self._kept
            return integers.view(*self.scales.shape, -1).float()

        def forward(self, x: Any) -> Any:
            product = Product.apply(x, self.factor, self)
            return product if self.bias is None else product + self.bias

    class Product(torch.autograd.Function):
        """x times the weight, which is made anew for the gradients."""

        @staticmethod
        def forward(ctx: Any, x: Any, factor: Any, module: Any) -> Any:
            ctx.save_for_backward(x, factor)
            ctx.module = module
            groups = module.groups()
            return x @ groups.mul_((module.scales * factor)[:, :, None]).view(len(groups), -1).t()

        @staticmethod
        def backward(ctx: Any, given: Any) -> Any:
            x, factor = ctx.saved_tensors
            scales, groups = ctx.module.scales, ctx.module.groups()
            outputs, inputs = len(groups), x.shape[-1]
            to_factor = to_x = None
            if ctx.needs_input_grad[1]:
                to_weight = given.reshape(-1, outputs).t() @ x.reshape(-1, inputs)
                to_factor = to_weight.view_as(groups).mul_(groups).sum(dim=2) * scales
            if ctx.needs_input_grad[0]:
                to_x = given @ groups.mul_((scales * factor)[:, :, None]).view(outputs, inputs)
            return to_x, to_factor, None

    return ScaledLinear()
