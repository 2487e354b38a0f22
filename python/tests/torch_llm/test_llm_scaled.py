"""A linear that reads its integers when it computes."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (profile torch or current)")

from dopt.llm.scaled import scaled_linear  # noqa: E402


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("bias", [None, torch.arange(6.0)])
def test_output_and_gradients_are_those_of_the_plain_product(stays, bias):
    rng = np.random.default_rng(0)
    integers, scales = rng.integers(-8, 8, (6, 8), np.int8), rng.uniform(0.1, 1, (6, 2)).astype(np.float32)
    reads = []
    module = scaled_linear(lambda: reads.append(1) or integers, scales, bias, torch.device("cpu"), stays)
    with torch.no_grad():
        module.factor.copy_(torch.from_numpy(rng.uniform(0.5, 2, (6, 2)).astype(np.float32)))
    factor = module.factor.detach().clone().requires_grad_()
    x, y = (torch.from_numpy(rng.standard_normal((3, 5, 8)).astype(np.float32)).requires_grad_() for _ in range(2))
    with torch.no_grad():
        y.copy_(x)
    steps = (torch.from_numpy(scales) * factor)[:, :, None]
    weight = (torch.from_numpy(integers).view(6, 2, 4).float() * steps).view(6, 8)
    wanted, found = torch.nn.functional.linear(y, weight, bias), module(x)
    torch.testing.assert_close(found, wanted)
    for each in (wanted, found):
        (each**2).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(module.factor.grad, factor.grad)
    assert len(reads) == (1 if stays else 2)


def test_nothing_as_large_as_the_weight_is_kept_for_the_gradients():
    integers, scales = np.ones((64, 64), np.int8), np.ones((64, 1), np.float32)
    module = scaled_linear(lambda: integers, scales, None, torch.device("cpu"))
    output = module(torch.ones(2, 64, requires_grad=True))
    kept = [*output.grad_fn.saved_tensors, *module.buffers(), *module.parameters()]
    assert max(each.numel() for each in kept) == 2 * 64
