"""A network that holds the weights of all candidates at once, in PyTorch.

Every kind of block of a layer has weights of the largest size; a candidate uses the first channels and the middle of the
windows (Cai et al., "Once-for-All", ICLR 2020, section 3.3; Yu, Huang, "Universally Slimmable Networks", ICCV 2019).
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import nn

from dopt.nas.supernet import loosened, sizes_of
from dopt.nas.torch_blocks import Network, SqueezeExcite


class Norm(nn.Module):
    """Batch normalization of the first channels; statistics are those of the batch, or what ``recalibrate`` has gathered."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels), persistent=False)
        self.register_buffer("variance", torch.ones(channels), persistent=False)
        self.momentum = 1.0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        count = inputs.shape[1]
        return F.batch_norm(
            inputs, self.mean[:count], self.variance[:count], self.weight[:count], self.bias[:count],
            self.training, self.momentum, 1e-5,
        )


class Conv(nn.Module):
    """A convolution whose output channels and window may be smaller than its weights, with its normalization."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, depthwise: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(after, 1 if depthwise else before, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.stride, self.depthwise = stride, depthwise
        self.norm = Norm(after)

    def forward(self, inputs: torch.Tensor, after: int, kernel: int = 1, relu: bool = True) -> torch.Tensor:
        edge = (self.weight.shape[2] - kernel) // 2
        before = 1 if self.depthwise else inputs.shape[1]
        weight = self.weight[:after, :before, edge:edge + kernel, edge:edge + kernel]
        groups = after if self.depthwise else 1
        outputs = self.norm(F.conv2d(inputs, weight, None, self.stride, kernel // 2, 1, groups))
        return torch.relu(outputs) if relu else outputs


class SharedLayer(nn.Module):
    """All blocks that one layer may be; ``largest`` has for each kind of block the layer with the most channels."""

    def __init__(self, largest: Dict[str, Dict[str, Any]]) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({
            block: nn.ModuleDict(_parts(layer)) for block, layer in largest.items() if block != "skip"
        })

    def forward(self, inputs: torch.Tensor, layer: Dict[str, Any]) -> torch.Tensor:
        block, kernel, hidden, after = layer["block"], layer["kernel"], layer["hidden"], layer["out"]
        if block == "skip":
            return inputs
        parts = self.blocks[block]
        straight = layer["stride"] == 1 and inputs.shape[1] == after
        if block == "conv":
            return parts["first"](inputs, after, kernel)
        if block == "residual":
            outputs = parts["last"](parts["first"](inputs, hidden, kernel), after, kernel, relu=False)
        elif block == "bottleneck":
            outputs = parts["middle"](parts["first"](inputs, hidden), hidden, kernel)
            outputs = parts["last"](outputs, after, relu=False)
        elif block == "mbconv":
            outputs = parts["middle"](parts["first"](inputs, hidden), hidden, kernel)
            if layer["squeeze"]:
                outputs = _excite(outputs, parts["reduce"], parts["expand"], layer["squeeze"])
            outputs = parts["last"](outputs, after, relu=False)
        else:
            outputs = parts["last"](parts["first"](inputs, hidden, kernel), after, relu=False)
        if block in ("mbconv", "fused"):
            return outputs + inputs if straight else outputs
        return torch.relu(outputs + (inputs if straight else parts["shortcut"](inputs, after, relu=False)))


def _parts(layer: Dict[str, Any]) -> Dict[str, nn.Module]:
    parts: Dict[str, nn.Module] = {name: Conv(*size) for name, size in sizes_of(layer).items()}
    if layer["block"] == "mbconv":
        parts["reduce"] = nn.Conv2d(layer["hidden"], layer["squeeze"], 1)
        parts["expand"] = nn.Conv2d(layer["squeeze"], layer["hidden"], 1)
    return parts


def _excite(inputs: torch.Tensor, reduce: nn.Conv2d, expand: nn.Conv2d, squeeze: int) -> torch.Tensor:
    count = inputs.shape[1]
    pooled = inputs.mean((2, 3), keepdim=True)
    squeezed = torch.relu(F.conv2d(pooled, reduce.weight[:squeeze, :count], reduce.bias[:squeeze]))
    return inputs * torch.sigmoid(F.conv2d(squeezed, expand.weight[:count, :squeeze], expand.bias[:count]))


class Supernet(nn.Module):
    """The fixed parts of the user's with all candidates between them; ``layers`` says which one computes."""

    def __init__(self, pre_net: nn.Module, largest: Sequence[Dict[str, Dict[str, Any]]], post_net: nn.Module,
                 features: Sequence[int] = ()) -> None:
        super().__init__()
        self.pre_net = pre_net
        self.layers = nn.ModuleList(SharedLayer(blocks) for blocks in largest)
        self.post_net = post_net
        self.features = tuple(features)
        self.active: List[Dict[str, Any]] = []

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.observed(inputs)[1]

    def observed(self, inputs: torch.Tensor) -> Tuple[List[Optional[torch.Tensor]], Any]:
        """What comes out of each layer, None where the layer is a skip, and the outputs."""
        maps = [self.pre_net(inputs)]
        for shared, layer in zip(self.layers, self.active):
            maps.append(shared(maps[-1], layer))
        chosen = [maps[index + 1] for index in self.features]
        outputs = self.post_net([*chosen, maps[-1]] if self.features else maps[-1])
        layers = zip(maps[1:], self.active)
        return [None if layer["block"] == "skip" else each for each, layer in layers], outputs


def recalibrate(network: nn.Module, batches: Sequence[torch.Tensor]) -> None:
    """Gathers the statistics of all normalizations anew: shared weights have none that fit every candidate (Yu, Huang,
    section 3.3). The network is left in evaluation mode."""
    network.eval()
    norms = [each for each in network.modules() if isinstance(each, (Norm, nn.modules.batchnorm._BatchNorm))]
    kept = [each.momentum for each in norms]
    for each in norms:
        each.train()
    with torch.no_grad():
        for count, inputs in enumerate(batches, 1):
            for each in norms:
                each.momentum = 1.0 / count
            network(inputs)
    for each, momentum in zip(norms, kept):
        each.momentum = momentum
        each.eval()


def cut_out(network: Network, shared: Supernet) -> None:
    """Gives a network the part of the shared weights that it uses, so that it computes what ``shared`` does with it."""
    for part in ("pre_net", "post_net"):
        getattr(network, part).load_state_dict(getattr(shared, part).state_dict())
    with torch.no_grad():
        for own, layer, blocks in zip(network.layers, shared.active, shared.layers):
            if layer["block"] == "skip":
                continue
            parts = blocks.blocks[layer["block"]]
            _take_convs(own.body, [parts[name] for name in ("first", "middle", "last") if name in parts])
            if isinstance(own.shortcut, nn.Sequential):
                _take_convs(own.shortcut, [parts["shortcut"]])
            for excite in (each for each in own.body if isinstance(each, SqueezeExcite)):
                for name in ("reduce", "expand"):
                    _take(getattr(excite, name).weight, parts[name].weight)
                    _take(getattr(excite, name).bias, parts[name].bias)


def go_on(network: Network, shared: Supernet) -> None:
    """Gives a network weights between its own, which are new, and the part of the shared ones that it uses."""
    new = {name: each.detach().clone() for name, each in network.named_parameters()}
    cut_out(network, shared)
    with torch.no_grad():
        for name, each in network.named_parameters():
            each.copy_(loosened(each, new[name], torch.linalg.norm))


def _take_convs(body: nn.Module, sources: Sequence[Conv]) -> None:
    """Weights of the convolutions in ``body`` with their normalizations, in the order in which they compute."""
    convs = [each for each in body.modules() if isinstance(each, nn.Conv2d) and each.bias is None]
    norms = [each for each in body.modules() if isinstance(each, nn.BatchNorm2d)]
    for source, own, norm in zip(sources, convs, norms):
        _take(own.weight, source.weight)
        _take(norm.weight, source.norm.weight)
        _take(norm.bias, source.norm.bias)


def _take(own: torch.Tensor, shared: torch.Tensor) -> None:
    """The first channels of shared weights, and the middle of their windows."""
    region = [slice(0, size) for size in own.shape[:2]]
    for size, most in zip(own.shape[2:], shared.shape[2:]):
        edge = (most - size) // 2
        region.append(slice(edge, edge + size))
    own.copy_(shared[tuple(region)])
