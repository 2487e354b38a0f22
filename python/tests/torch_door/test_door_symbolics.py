"""Operators that torch's exporter lacks or gets wrong: what is exported computes torch's numbers, for another batch too."""

import io

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

import torch.nn as nn  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from dopt.doors.torch.patches import OPSET, export_settings, exportable  # noqa: E402
from dopt.doors.torch.symbolics import TABLE  # noqa: E402
from torch import maximum as imported_maximum  # noqa: E402

MAPS, ROWS, TABLES, VOLUMES = (3, 8, 6, 8), (3, 6, 16), (3, 12), (3, 12, 4, 5, 6)
places = lambda x: torch.tanh(x[:, :2, :5, :4]).permute(0, 2, 3, 1) * 1.3  # noqa: E731
positive = lambda x: torch.sigmoid(x) * 0.8 + 0.1  # noqa: E731


def in_place(change):
    def call(x):
        y = x.clone()
        change(y)
        return y

    return call


class WithWeight(nn.Module):
    """A function of the input and a parameter [8, 8]."""

    def __init__(self, function):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))
        self.function = function

    def forward(self, x):
        return self.function(x, self.weight)


class Twice(nn.Module):
    """A module of two inputs, given one and that one changed."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x, x.flip(1) * 0.7)


class Unpooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x):
        y, places = self.pool(x)
        return self.unpool(y, places)


ELEMENTWISE = {
    **{name: getattr(torch, name) for name in "sinh cosh asinh trunc fix frac sgn positive deg2rad rad2deg".split()},
    **{name: getattr(torch, name) for name in "expm1 exp2 erfc sinc signbit nan_to_num".split()},
    **{name: lambda x, name=name: getattr(torch, name)(positive(x)) for name in ("atanh", "logit")},
    **{f"special.{name}": lambda x, name=name: getattr(torch.special, name)(x) for name in "expm1 exp2 erf erfc expit sinc".split()},
    **{
        name: lambda x, name=name: getattr(torch, name)(x, x.flip(1) + 0.1)
        for name in "maximum minimum fmax fmin logaddexp hypot atan2 copysign floor_divide".split()
    },
    "acosh": lambda x: torch.acosh(x.abs() + 1.1),
    "imported maximum": lambda x: imported_maximum(x, x.flip(1)),
    "maximum of integers": lambda x: torch.maximum(x.argmax(1), torch.tensor(3)),
    "maximum with a number": lambda x: torch.maximum(x, torch.tensor(0.5)),
    "xlogy": lambda x: torch.xlogy(torch.relu(x), positive(x)),
    "heaviside": lambda x: torch.heaviside(torch.relu(x), torch.tensor(0.5)),
    "lerp": lambda x: torch.lerp(x, x * 2, 0.3),
    "lerp by a tensor": lambda x: torch.lerp(x, x * 2, x.sigmoid()),
    "lerp_": in_place(lambda y: y.lerp_(y * 2, 0.5)),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5),
    "addcmul_": in_place(lambda y: y.addcmul_(y, y, value=0.1)),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() + 1, value=0.5),
    "float_power": lambda x: torch.float_power(x.abs(), 1.5).float(),
    "nan_to_num with numbers": lambda x: torch.nan_to_num(torch.log(x), nan=0.5, posinf=9.0, neginf=-9.0),
    "logical_not": lambda x: torch.logical_not(x > 0),
    "isclose": lambda x: torch.isclose(x, x + 1e-9),
    "threshold": lambda x: F.threshold(x, 0.2, -1.0),
    "floor_divide of integers": lambda x: x.argmax(1) // 3,
    "rrelu": nn.RReLU(0.1, 0.2),
}
REDUCTIONS = {
    **{f"amax {more}": lambda x, more=more: torch.amax(x, **more) for more in ({"dim": (2, 3)}, {"dim": 1, "keepdim": True})},
    "amin": lambda x: x.amin((1, 2, 3)),
    "aminmax": lambda x: torch.aminmax(x, dim=2, keepdim=True)[1] - torch.aminmax(x, dim=2, keepdim=True)[0],
    "nansum": lambda x: torch.nansum(torch.log(x), 1),
    "count_nonzero": lambda x: torch.count_nonzero(x > 0, 1),
    "kthvalue": lambda x: torch.kthvalue(x, 2, 1)[0],
    "median": lambda x: torch.median(x, 1)[0],
    "median, position": lambda x: x.median(2, keepdim=True)[1],
    "msort": lambda x: torch.msort(x.transpose(0, 1)),
    "bucketize": lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0])),
    "bucketize from the right": lambda x: torch.bucketize(x.round(), torch.tensor([-1.0, 0.0, 1.0]), right=True),
    "searchsorted": lambda x: torch.searchsorted(torch.tensor([-1.0, 0.0, 1.0]), x),
    "scatter_add, places met twice": lambda x: torch.zeros_like(x[:, :3]).scatter_add(1, x.argsort(1) % 3, x),
    "scatter_add in the middle": lambda x: x.scatter_add(2, (x > 0).long(), x),
    "norm, third": lambda x: torch.norm(x, p=3, dim=(2, 3), keepdim=True),
    "norm, largest": lambda x: torch.norm(x, p=float("inf"), dim=1),
    "linalg.norm": lambda x: torch.linalg.norm(x, dim=1),
    **{f"vector_norm {p}": lambda x, p=p: torch.linalg.vector_norm(x, p, dim=(2, 3)) for p in (0, 1, 2, 3, float("inf"), -float("inf"))},
    "normalize": lambda x: F.normalize(x, p=3.0),
    "trace": WithWeight(lambda x, w: x * torch.trace(w)),
}
SHAPES = {
    "movedim": lambda x: torch.movedim(x, (1, 2), (-1, -2)),
    "moveaxis": lambda x: torch.moveaxis(x, 1, 3),
    "T": WithWeight(lambda x, w: x @ w.T),
    "mT": lambda x: x.mT,
    "ravel": WithWeight(lambda x, w: x * w.ravel()[:8]),
    "tile": lambda x: torch.tile(x, (1, 2, 1, 2)),
    "tile with more dimensions": lambda x: torch.tile(x, (2, 1, 1, 1, 1)),
    "tile with fewer": lambda x: x.tile(2),
    "broadcast_to": lambda x: torch.broadcast_to(x[:, None, :1], (-1, 4, -1, -1, -1)),
    "fliplr": torch.fliplr,
    "flipud": lambda x: torch.flipud(x.transpose(0, 1)),
    **{f"rot90 {times}": lambda x, times=times: torch.rot90(x, times, (2, 3)) for times in (0, 1, 2, 3, -1)},
    "atleast": lambda x: torch.atleast_3d(x.flatten(1)),
    "hstack": lambda x: torch.hstack([x, x]),
    "vstack": lambda x: torch.vstack([x.flatten(1)[0], x.flatten(1)[1]]),
    "dstack": lambda x: torch.dstack([x, x]),
    "column_stack": lambda x: torch.column_stack([x, x]),
    "tril": lambda x: torch.tril(x, -1),
    "triu of infinities": lambda x: x[..., :6] + torch.triu(torch.full((6, 6), float("-inf")), 1),
    "triu of truths": lambda x: torch.triu(x > 0, 2),
    "tril_": in_place(lambda y: y.tril_()),
    "diag_embed": lambda x: torch.diag_embed(x),
    "diag": WithWeight(lambda x, w: x * torch.diag(w)),
    "diag beside": WithWeight(lambda x, w: x[..., :6] * torch.diag(w, -2)),
    "diff": lambda x: torch.diff(x, n=2, dim=-1, prepend=x[..., :1]),
    "take_along_dim": lambda x: torch.take_along_dim(x, x.argsort(1), 1),
    "unfold": lambda x: x.unfold(2, 3, 2).unfold(-2, 4, 1),
    "unfold behind sizes that are lost": lambda x: x.view(x.shape[0], 2, 4, -1).transpose(1, 2).reshape(x.shape).unfold(1, 4, 3),
    "tensor_split": lambda x: torch.cat(torch.tensor_split(x, 3, 1)[::-1], 1),
    "tensor_split at places": lambda x: torch.cat(x.tensor_split((3, -2), dim=3)[::-1], 3),
    "hsplit": lambda x: torch.cat(torch.hsplit(x, [2, 5])[::-1], 1),
    "unflatten": lambda x: x.unflatten(1, (2, -1)),
    "Unflatten": nn.Unflatten(3, (2, 4)),
}
POOLING = {
    **{
        f"{kind} {size}": getattr(nn, f"Adaptive{kind}Pool2d")(size)
        for kind in ("Avg", "Max")
        for size in (1, (3, 4), (4, 3), (None, 5), (7, 11))
    },
    "area by a factor": lambda x: F.interpolate(x, scale_factor=0.6, mode="area"),
    "sizes computed anew": lambda x: F.interpolate(x, scale_factor=(0.7, 1.3), mode="bilinear", recompute_scale_factor=True),
    "divisor": nn.AvgPool2d((2, 3), (2, 1), (1, 1), divisor_override=5),
    "MaxUnpool2d": Unpooled(),
    "instance norm with statistics": nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
    "fold": lambda x: F.fold(F.unfold(x, (3, 2), padding=1, stride=(2, 3), dilation=2), (6, 8), (3, 2), 2, 1, (2, 3)),
}
SAMPLING = {
    **{
        f"{mode} {padding} {align}": lambda x, mode=mode, padding=padding, align=align: F.grid_sample(x, places(x), mode, padding, align)
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in ("zeros", "border", "reflection")
        for align in (False, True)
    },
    **{
        f"affine {align}": lambda x, align=align: F.grid_sample(
            x, F.affine_grid(torch.tanh(x[:, :6, 0, 0]).view(-1, 2, 3), (x.shape[0], 1, 5, 7), align), align_corners=align
        )
        for align in (False, True)
    },
    # Behind a Reshape to computed sizes PyTorch 1.11 knows no sizes any more.
    "sizes that are lost": lambda x: F.grid_sample(x.view(x.shape[0], 2, 4, -1).transpose(1, 2).reshape(x.shape), places(x), align_corners=False),
    "nearest-exact": lambda x: F.interpolate(x, size=(11, 5), mode="nearest-exact"),
    "nearest-exact by a factor": lambda x: F.interpolate(x, scale_factor=1.3, mode="nearest-exact"),
    **{
        f"antialias {mode} {align}": lambda x, mode=mode, align=align: F.interpolate(
            x, size=(4, 11), mode=mode, antialias=True, align_corners=align
        )
        for mode in ("bilinear", "bicubic")
        for align in (False, True)
    },
    "antialias by a factor": lambda x: F.interpolate(x, scale_factor=(0.6, 0.4), mode="bilinear", antialias=True),
}
PRODUCTS = {
    "inner": WithWeight(lambda x, w: torch.inner(x, w)),
    "vdot": WithWeight(lambda x, w: x * torch.vdot(w[0], w[1])),
    "multi_dot": WithWeight(lambda x, w: x @ torch.linalg.multi_dot([w, w, w])),
    "kron": WithWeight(lambda x, w: x @ torch.kron(w[:2, :2], w[:4, :4])),
    "cross": lambda x: torch.cross(x[:, :3], x[:, 3:6], dim=1),
    "Bilinear": Twice(nn.Bilinear(8, 8, 4)),
    "Bilinear without bias": Twice(nn.Bilinear(8, 8, 4, bias=False)),
    "CosineSimilarity": Twice(nn.CosineSimilarity(dim=1)),
    **{f"PairwiseDistance {p}": Twice(nn.PairwiseDistance(p, keepdim=True)) for p in (1, 2)},
    **{f"cdist {p}": lambda x, p=p: torch.cdist(x, x * 0.5 + 1, p) for p in (1.0, 2.0, float("inf"))},
    "dist": WithWeight(lambda x, w: x * torch.dist(w[0], w[1])),
}
OTHER_SHAPES = {
    "one dimension": (ROWS, nn.AdaptiveAvgPool1d(5)),
    "one dimension, maximum": (ROWS, nn.AdaptiveMaxPool1d(5)),
    "one dimension, nearest-exact": (ROWS, lambda x: F.interpolate(x, size=7, mode="nearest-exact")),
    "rows of tables": (TABLES, Twice(nn.PairwiseDistance())),
    "tables": (TABLES, Twice(nn.Bilinear(12, 12, 5))),
    "volumes": (VOLUMES, nn.AdaptiveAvgPool3d(3)),
    "volumes, maximum": (VOLUMES, nn.AdaptiveMaxPool3d((2, 3, 4))),
    "volumes, sampled": (VOLUMES, lambda x: F.grid_sample(x, torch.tanh(x[:, :3]).permute(0, 2, 3, 4, 1) * 1.2, align_corners=False)),
    "volumes, affine": (
        VOLUMES,
        lambda x: F.grid_sample(
            x, F.affine_grid(torch.tanh(x[:, :, 0, 0, 0]).view(-1, 3, 4) * 0.5, x.shape, True), "nearest", "border", True
        ),
    ),
}


class Network(nn.Module):
    """A function behind a parameter, so that nothing is folded away."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.one = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.function(x * self.one)


def exported(network, x):
    """The bytes of an export with an open batch. Errors come without their frames: values of a graph that is gone cannot be printed."""
    file = io.BytesIO()
    try:
        with exportable(fixed_batch=False), torch.no_grad():
            torch.onnx.export(network, (x,), file, input_names=["x"], dynamic_axes={"x": {0: "batch"}}, **export_settings())
    except Exception as error:  # noqa: BLE001 - torch raises many types here.
        raise RuntimeError(f"{type(error).__name__}: {error}") from None
    return file.getvalue()


def check(function, shape):
    import onnxruntime as ort

    torch.manual_seed(0)
    network = Network(function).eval()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(exported(network, torch.randn(shape)), options, providers=["CPUExecutionProvider"])
    for batch in (shape[0], shape[0] + 2):
        x = torch.randn(batch, *shape[1:])
        with torch.no_grad():
            expected = network(x).numpy()
        (found,) = session.run(None, {"x": x.numpy()})[:1]
        assert found.shape == expected.shape and found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


FAMILIES = {"elementwise": ELEMENTWISE, "reductions": REDUCTIONS, "shapes": SHAPES, "pooling": POOLING, "sampling": SAMPLING, "products": PRODUCTS}


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, cases in FAMILIES.items() for name in cases])
def test_maps(family, name):
    check(FAMILIES[family][name], MAPS)


@pytest.mark.parametrize("name", OTHER_SHAPES)
def test_other_shapes(name):
    shape, function = OTHER_SHAPES[name]
    check(function, shape)


def test_torchscript():
    """A file of TorchScript calls operators by themselves, not by functions that could be replaced."""
    import onnxruntime as ort

    class Net(nn.Module):
        def forward(self, x):
            grid = torch.tanh(x[:, :2]).permute(0, 2, 3, 1)
            return torch.maximum(F.grid_sample(x, grid, align_corners=False), F.adaptive_max_pool2d(x, (4, 5)).amax((2, 3), keepdim=True))

    x = torch.randn(MAPS)
    traced = torch.jit.trace(Net().eval(), x)
    session = ort.InferenceSession(exported(traced, x), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], traced(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer", [nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((2, 4)), nn.AdaptiveMaxPool2d(1), nn.InstanceNorm2d(4), nn.AvgPool2d(2)]
)
def test_scripted_networks(layer):
    """They were never traced: types in their program have no sizes, and what torch can write without, it still writes."""
    import onnxruntime as ort

    x = torch.randn(2, 3, 8, 8)
    network = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), layer).eval())
    session = ort.InferenceSession(exported(network, x), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], network(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_torch_is_left_as_it_was():
    class Net(nn.Module):
        def forward(self, x):
            return F.grid_sample(x, torch.tanh(x[:, :2]).permute(0, 2, 3, 1), align_corners=False)

    x = torch.randn(MAPS)
    for _ in range(2):
        assert exported(Net(), x)
        with pytest.raises(Exception, match="grid_sampler"):
            torch.onnx.export(Net(), (x,), io.BytesIO(), opset_version=OPSET, **{k: v for k, v in export_settings().items() if k == "dynamo"})


def test_a_symbolic_function_of_the_user_stays():
    """Replaced or not, what a program has registered is there behind an export too."""

    def doubled(graph, x, *_):
        return graph.op("Add", x, x)

    class Net(nn.Module):
        def forward(self, x):
            return F.rrelu(x) if self.replaced else torch.sinh(x)

    x = torch.randn(MAPS)
    for name, replaced in (("rrelu", True), ("sinh", False)):
        network = Net().eval()
        network.replaced = replaced
        torch.onnx.register_custom_op_symbolic(f"::{name}", doubled, OPSET)
        try:
            exported(network, x)
            file = io.BytesIO()
            plain = {key: value for key, value in export_settings().items() if key == "dynamo"}
            torch.onnx.export(network, (x,), file, opset_version=OPSET, **plain)
            assert b"Add" in file.getvalue()
        finally:
            torch.onnx.unregister_custom_op_symbolic(f"::{name}", OPSET)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: torch.median(x), "operator median .* depends on the batch"),
        (lambda x: torch.inner(x, x), "operator inner .* more than two dimensions"),
        (lambda x: torch.diag_embed(x, 1), "operator diag_embed .* main diagonal"),
    ],
)
def test_what_cannot_be_expressed_says_why(function, why):
    with pytest.raises(Exception, match=why):
        exported(Network(function), torch.randn(MAPS))


def test_each_operator_of_the_table_is_torch_s():
    """A name that torch does not know would never be called: a slip of the pen, or an operator of another version."""
    known = {each.name.split("::")[1] for each in torch._C._jit_get_all_schemas() if each.name.startswith("aten::")}
    assert set(TABLE) <= known
