"""The CUDA core on tensors of torch: the CPU core's bits, streams as they are. Skipped where there is no GPU or no torch."""

import os

import numpy as np
import pytest

from dopt import native, native_cuda
from dopt.device_arrays import view_of
from dopt.errors import DoptError
from dopt.native_abi import HistogramState
from dopt.native_gram import Conv2d, LayerSums, WeightGrid


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    if native_cuda.load() is None:
        pytest.skip("no CUDA core: %s" % native_cuda.unavailable())
    if not module.cuda.is_available():
        pytest.skip("torch sees no GPU")
    return module


@pytest.fixture(scope="module")
def core(torch):
    return native_cuda.load()


@pytest.fixture(scope="module")
def cpu():
    core = native.load()
    if core.backend != "native":
        pytest.skip("no native core to compare with: %s" % core.detail)
    return core


def _values(n, seed=0):
    values = np.random.default_rng(seed).normal(size=n).astype(np.float32)
    values[:6] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42]
    return values


def test_memory_of_the_host_is_refused():
    with pytest.raises(DoptError, match="neither"):
        view_of([1.0])
    with pytest.raises(DoptError, match="cannot be used on the GPU"):
        view_of(np.zeros(3, dtype=np.float32))


def test_why_there_is_no_core(monkeypatch):
    with pytest.raises(native_cuda.CudaLibraryError, match="cannot be loaded"):
        native_cuda.CudaCore(os.path.join(os.sep, "nowhere", "libdopt_cuda.so"))


def test_rounds_to_the_bits_of_the_cpu_core(core, torch, cpu):
    x = _values(100003)
    there = torch.from_numpy(x).cuda()
    rounded = torch.empty_like(there)
    core.fake_quantize(there, 0, 0.02, 3, (-128, 127), rounded)
    expected = cpu.fake_quantize(x, 0, np.float32([0.02]), np.int32([3]), (-128, 127))
    assert rounded.cpu().numpy().tobytes() == expected.tobytes()
    q, back = torch.empty(len(x), dtype=torch.int8, device="cuda"), torch.empty_like(there)
    core.quantize(there, 0.02, 3, q)
    core.dequantize(q, 0.02, 3, back)
    assert torch.equal(back, rounded)


def test_takes_the_stream_it_is_given(core, torch):
    stream = torch.cuda.Stream()
    x = torch.ones(1 << 24, device="cuda")
    q = torch.empty(x.shape, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(stream), core.on(stream.cuda_stream):
        torch.cuda._sleep(200_000_000)  # what follows in the stream comes after it
        x.mul_(3)
        core.quantize(x, 1.0, 0, q)
        core.synchronize()
        assert stream.query()
    assert bool((q == 3).all())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_observes_like_the_cpu_core(core, torch, cpu, dtype):
    bins = 512
    first = torch.from_numpy(_values(70001)).cuda().to(getattr(torch, dtype))
    second = first[:1001] * 3
    states = torch.empty((2, native_cuda.STATE_BYTES), dtype=torch.uint8, device="cuda")
    counts = torch.empty((2, bins), dtype=torch.int64, device="cuda")
    core.histogram_init(states, counts)
    core.histogram_update(states, counts, [first, None])
    core.histogram_update(states, counts, [second, first])
    ranges = torch.empty((3, 2), dtype=torch.float64, device="cuda")
    core.range_mse(states, counts, 8, False, False, ranges)
    seen = (HistogramState * 2).from_buffer_copy(states.cpu().numpy().tobytes())
    expected = cpu.histograms(2, bins)
    for index, tensor in [(0, first), (0, second), (1, first)]:
        values = np.ascontiguousarray(tensor.float().cpu().numpy())
        expected.update([(index, values.ctypes.data, values.size)])
    assert np.array_equal(counts.cpu().numpy(), expected.counts().astype(np.int64))
    for state, wanted in zip(seen, expected.states()):
        assert (state.count, state.zeros, state.nans, state.infinities) == tuple(
            wanted[name] for name in ("count", "zeros", "nans", "infinities")
        )
        assert (state.min, state.max, state.width) == (wanted["min"], wanted["max"], wanted["histogram"]["width"])
    assert bool((ranges[0] <= 0).all()) and bool((ranges[1] >= 0).all())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_solves_a_layer_like_the_cpu_core(core, torch, cpu, dtype):
    generator = torch.Generator(device="cuda").manual_seed(1)
    rows, inputs, outputs = 3000, 128, 24
    x = torch.randn((rows, inputs), generator=generator, device="cuda")
    x = (x + 0.9 * x.roll(1, 1)).to(getattr(torch, dtype))
    weights = torch.randn((outputs, inputs), generator=generator, device="cuda")
    y = (x.float() @ weights.T).to(x.dtype)
    grid = WeightGrid(torch.full((1, outputs, 4), 0.2, device="cuda"), 32, -7, 7, True)
    sums = LayerSums(*(torch.zeros(each.shape, dtype=torch.float64, device="cuda") for each in LayerSums.empty(1, outputs, inputs)))
    core.gram_matmul(x, y, sums)
    integers = torch.empty((1, outputs, inputs), dtype=torch.int8, device="cuda")
    core.gram_reconstruct(weights[None], grid, sums, 0.01, 0.01, integers)
    bias, error = (torch.empty((1, outputs), dtype=torch.float64, device="cuda") for _ in range(2))
    core.gram_bias(integers, grid, sums, bias)
    core.gram_error(integers, grid, sums, bias, error)

    cpu_sums = LayerSums.empty(1, outputs, inputs)
    cpu.gram_matmul(*(np.ascontiguousarray(each.float().cpu().numpy()) for each in (x, y)), cpu_sums)
    for mine, wanted in zip(sums, cpu_sums):
        assert np.abs(mine.cpu().numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()
    cpu_grid = grid._replace(scales=grid.scales.cpu().numpy())
    wanted = cpu.gram_reconstruct(weights[None].cpu().numpy(), cpu_grid, cpu_sums, 0.01, 0.01)
    assert (integers.cpu().numpy() != wanted).mean() < 0.01
    wanted_bias = cpu.gram_bias(wanted, cpu_grid, cpu_sums)
    wanted_error = cpu.gram_error(wanted, cpu_grid, cpu_sums, wanted_bias).sum()
    assert abs(float(error.sum()) - wanted_error) <= 0.01 * wanted_error


def test_gathers_patches_of_a_batch(core, torch, cpu):
    x, y = (torch.randn((3, channels, 9, 8), device="cuda") for channels in (4, 6))
    shape = dict(batch=1, in_channels=4, in_height=9, in_width=8, out_channels=6, kernel_height=3, kernel_width=3)
    shape.update(groups=2, stride_height=1, stride_width=1, dilation_height=1, dilation_width=1)
    shape.update(pad_top=1, pad_left=1, pad_bottom=1, pad_right=1)
    wanted = LayerSums.empty(2, 3, 18)
    for each_x, each_y in zip(x.cpu().numpy(), y.cpu().numpy()):
        cpu.gram_conv2d(Conv2d(shape, False, 9, 8), each_x, each_y, 1000, 0, wanted)
    sums = LayerSums(*(torch.zeros(each.shape, dtype=torch.float64, device="cuda") for each in wanted))
    core.gram_conv2d(Conv2d({**shape, "batch": 3}, False, 9, 8), x, y, 1000, 0, sums)
    for mine, each in zip(sums, wanted):
        assert np.allclose(mine.cpu().numpy(), each, rtol=1e-12, atol=1e-12)


def test_views_of_other_shapes_are_refused(core, torch):
    x = torch.zeros((4, 6), device="cuda")
    with pytest.raises(DoptError, match="not contiguous"):
        view_of(x.T)
    with pytest.raises(DoptError, match="expected float32"):
        view_of(x.double(), "float32")
    with pytest.raises(ValueError, match="elements"):
        core.quantize(x, 1.0, 0, torch.empty(3, dtype=torch.uint8, device="cuda"))


def test_packs_and_unpacks(core, torch):
    x = torch.randint(-8, 8, (1001,), dtype=torch.int8, device="cuda")
    packed, back = torch.empty(501, dtype=torch.uint8, device="cuda"), torch.empty_like(x)
    outside = torch.empty(1, dtype=torch.int64, device="cuda")
    core.pack_int4(x, packed, outside)
    core.unpack_int4(packed, back)
    assert torch.equal(x, back) and int(outside) == 0


def test_takes_arrays_of_cupy(core, torch):
    cupy = pytest.importorskip("cupy")
    x = cupy.arange(1000, dtype=cupy.float32)
    q = cupy.empty(1000, dtype=cupy.uint16)
    core.quantize(x, 1.0, 5, q)
    assert bool((q == x.astype(cupy.uint16) + 5).all())
