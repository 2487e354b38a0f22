"""Weights files that dopt wrote: ordinary state dicts that also tell how the inputs of layers are rounded (entry.py).

``load_quantized`` is all that a project needs to run such a file as the device will.
"""

import functools
from typing import Any, Dict, List, Optional

from dopt.errors import DoptError

VERSION = 1


def load_quantized(network: Any, path: str) -> Any:
    """Loads a weights file that dopt wrote into ``network`` (a torch.nn.Module) and lets its layers round their inputs.

    Returns the network in evaluation mode. Raises DoptError WEIGHTS_NOT_QUANTIZED for a file without quantization, and
    those of ``load_checkpoint`` and ``load_into``.
    """
    from dopt.doors.torch.checkpoint import load_checkpoint
    from dopt.doors.torch.keys import load_into

    checkpoint = load_checkpoint(path)
    if checkpoint.quantization is None:
        raise DoptError(
            "WEIGHTS_NOT_QUANTIZED",
            f"{path} holds weights, but nothing about their quantization.",
            place=path,
            suggestions=["Give the file that dopt quantize wrote, NAME.int8.pth."],
        )
    load_into(network, checkpoint.state, path)
    attach_quantizers(network, checkpoint.quantization, path)
    return network.eval()


def attach_quantizers(network: Any, quantization: Dict[str, Any], path: str) -> None:
    """Lets the modules named in ``quantization['inputs']`` round what goes into them, and the calls in ``['calls']``.

    Raises DoptError WEIGHTS_MISMATCH when the network has no such module or the file is of a newer form.
    """
    if quantization.get("version") != VERSION:
        raise DoptError(
            "WEIGHTS_MISMATCH",
            f"{path} is of version {quantization.get('version')!r} of dopt's form; this dopt reads version {VERSION}.",
            place=path,
            suggestions=["Update dopt, or quantize the network again."],
        )
    modules = dict(network.named_modules())
    calls = quantization.get("calls", {})
    for name in [*quantization["inputs"], *(call.rsplit("/", 2)[0] for call in calls)]:
        if name not in modules:
            raise DoptError(
                "WEIGHTS_MISMATCH",
                f"{path} quantizes the input of {name!r}, which the network does not have.",
                place=path,
                suggestions=["Load it into the class that was quantized."],
            )
    for name, rounding in quantization["inputs"].items():
        modules[name].register_forward_pre_hook(_hook(rounding))
    if calls:
        _round_calls(network, calls)


def _round_calls(network: Any, calls: Dict[str, List[Optional[Dict[str, Any]]]]) -> None:
    """Rounds the factors of products that the network's own code computes (calls.py)."""
    from dopt.doors.torch.calls import intercepted

    quantizers = {name: [each and fake_quantizer(each) for each in factors] for name, factors in calls.items()}
    forward = network.forward

    def handle(name: str, factors: List[Any]) -> List[Any]:
        own = quantizers.get(name, [None, None])
        return [quantize(factor) if quantize else factor for quantize, factor in zip(own, factors)]

    @functools.wraps(forward)
    def rounded(*arguments: Any, **named: Any) -> Any:
        with intercepted(network, handle):
            return forward(*arguments, **named)

    network.forward = rounded


def _hook(spec: Dict[str, Any]) -> Any:
    quantize = fake_quantizer(spec)

    def rounded(_module: Any, inputs: Any) -> Any:
        return (quantize(inputs[0]),) + tuple(inputs[1:])

    return rounded


def fake_quantizer(spec: Dict[str, Any]) -> Any:
    """A function that rounds a tensor as ONNX QuantizeLinear and DequantizeLinear do: half to even, saturated.

    ``spec``: scale and zero_point (lists of one, or one a channel on ``axis``), bits, signed.
    """
    import torch

    low, high = (-(2 ** (spec["bits"] - 1)), 2 ** (spec["bits"] - 1) - 1) if spec["signed"] else (0, 2 ** spec["bits"] - 1)
    scale = torch.tensor(spec["scale"], dtype=torch.float32)
    zero = torch.tensor(spec["zero_point"], dtype=torch.float32)

    def quantize(x: Any) -> Any:
        shape = [1] * x.dim()
        if spec["axis"] is not None:
            shape[spec["axis"]] = -1
        elif x.dim() == 0:
            shape = []
        s, z = scale.to(x.device).reshape(shape), zero.to(x.device).reshape(shape)
        return (torch.clamp(torch.round(x / s) + z, low, high) - z) * s

    return quantize
