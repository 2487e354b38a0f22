"""Observation on a device: the native core's histograms, whatever runs the model."""

import contextlib
import ctypes
import errno
import json

import numpy as np
import pytest
import torch
from models import convolutional
from onnx import load, save
from sources import data_source

from dopt import gpu as gpus
from dopt import native, safetensors
from dopt.errors import DoptError
from dopt.events import Events
from dopt.execute import session
from dopt.execute.channels import observe_channels
from dopt.execute.device_observer import CoreHistogramSet, TorchHistogramSet, states_in
from dopt.execute.observe import observe
from dopt.execute.profile import profile
from dopt.native_abi import HistogramState

SUMS = ("sum", "sumSquares")


def awkward(size, seed):
    x = np.random.RandomState(seed).standard_normal(size).astype(np.float32) * 10 ** (seed % 5)
    x[:: max(1, size // 7)] = 0.0
    x[: size // 50] = [np.nan, np.inf, -np.inf, 1e-42, -0.0][seed % 5]
    return x


def test_counts_and_extremes_are_those_of_the_native_core(gpu):
    device, core = gpus.torch_device(gpu), native.load()
    one, other = core.histograms(3, 64), TorchHistogramSet(3, 64)
    for seed in range(6):
        arrays = [awkward(size, seed + at) for at, size in enumerate((1, 500, 2000))] if seed else [np.zeros(5, np.float32)] * 3
        one.update([(at, array.ctypes.data, array.size) for at, array in enumerate(arrays)])
        other.update_tensors([torch.from_numpy(array).to(device) for array in arrays])
    np.testing.assert_array_equal(one.counts(), other.counts())
    np.testing.assert_array_equal(one.nonfinite(), other.nonfinite())
    for mine, theirs in zip(one.states(), other.states()):
        assert {k: v for k, v in mine.items() if k not in SUMS} == {k: v for k, v in theirs.items() if k not in SUMS}
        assert [mine[k] for k in SUMS] == pytest.approx([theirs[k] for k in SUMS], rel=1e-12)


def same_whatever_their_number(job, kind, place):
    found = []
    for others in ([], [place], [place] * 4):  # more than there are samples, too
        result = observe({**job("observe", kind=kind, gpu=place, others=others), "tensors": ["x", "c1", "r1", "g"]}, Events())
        with open(result["statistics"], encoding="utf-8") as file:
            found.append((json.load(file)["tensors"], safetensors.read(result["histograms"])))
    for tensors, counts in found[1:]:
        for one, other in zip(found[0][0], tensors):
            assert {k: v for k, v in one.items() if k not in SUMS} == {k: v for k, v in other.items() if k not in SUMS}
            assert [one[k] for k in SUMS] == pytest.approx([other[k] for k in SUMS], rel=1e-12)
        for name, row in counts.items():
            np.testing.assert_array_equal(row, found[0][1][name])


@pytest.mark.parametrize("kind", ["torch", "onnxruntime"])
def test_several_places_count_what_one_counts(job, kind):
    same_whatever_their_number(job, kind, None)


def test_several_devices_count_what_one_counts(job, gpu):
    same_whatever_their_number(job, "torch", gpu)


def test_states_are_read_from_memory():
    histograms = native.load().histograms(2, 32)
    if not hasattr(histograms, "_fields"):
        pytest.skip("needs the native library")
    x = awkward(99, 1)
    histograms.update([(1, x.ctypes.data, x.size)])
    assert json.dumps(states_in(bytes(histograms._states), 2)) == json.dumps(histograms.states())


class HostCore:
    """The CUDA core's part for histograms, by the native core: what it is given are addresses all the same."""

    def __init__(self):
        self._call = native.load()._call

    def _at(self, states):
        return ctypes.cast(states.data_ptr(), ctypes.POINTER(HistogramState))

    def histogram_init(self, states, counts):
        counts.zero_()
        for state in states:
            self._call("dopt_histogram_init", self._at(state), counts.shape[1])

    def histogram_update(self, states, counts, tensors):
        rows, addresses = (np.array([each.data_ptr() for each in given], np.uint64) for given in (counts, tensors))
        sizes = np.array([each.numel() for each in tensors], np.uint64)
        given = (rows.ctypes.data, addresses.ctypes.data, sizes.ctypes.data, len(tensors))
        self._call("dopt_histogram_update_many", self._at(states), *given)

    def synchronize(self):
        """Nothing waits."""


def test_histograms_of_the_cuda_core_are_read_as_they_lie(monkeypatch):
    if native.load().backend != "native":
        pytest.skip("needs the native library")
    monkeypatch.setattr(CoreHistogramSet, "_stream", lambda self: contextlib.nullcontext())
    one, other = native.load().histograms(2, 64), CoreHistogramSet(HostCore(), 2, 64, torch.device("cpu"))
    for seed in range(3):
        arrays = [awkward(300, seed), awkward(40, seed + 1)]
        one.update([(at, array.ctypes.data, array.size) for at, array in enumerate(arrays)])
        other.update_tensors([torch.from_numpy(array) for array in arrays])
    assert one.states() == other.states() == other.on_processor().states()
    np.testing.assert_array_equal(one.counts(), other.counts())
    np.testing.assert_array_equal(one.nonfinite(), other.nonfinite())


@pytest.fixture
def job(tmp_path):
    """job(**executor) -> parameters of methods that observe."""
    save(convolutional(batch=1), str(tmp_path / "net.onnx"))
    folder = tmp_path / "data"
    folder.mkdir()
    for at in range(3):
        np.save(str(folder / f"{at}.npy"), np.random.RandomState(at).standard_normal((1, 3, 16, 16)).astype(np.float32))
    source = data_source(folder, (1, 3, 16, 16))

    def call(method, **executor):
        out = tmp_path / f"{method}-{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        shared = {"model": str(tmp_path / "net.onnx"), "source": source, "out": str(out), "bins": 128, "threads": 1}
        return {**shared, **({"executor": executor} if executor else {})}

    return call


def test_a_network_is_observed_on_a_device_as_on_the_processor(job, gpu):
    found = []
    for executor in ({}, {"kind": "torch", "gpu": gpu}):
        result = observe({**job("observe", **executor), "tensors": ["x", "c1", "r1", "g"]}, Events())
        with open(result["statistics"], encoding="utf-8") as file:
            found.append((json.load(file)["tensors"], safetensors.read(result["histograms"]), result["executor"]))
    assert found[1][2].startswith(f"PyTorch {torch.__version__}, GPU 0; ")
    for mine, theirs in zip(found[0][0], found[1][0]):
        assert mine["tensor"] == theirs["tensor"] and mine["count"] == theirs["count"]
        assert [theirs[key] for key in ("min", "max", *SUMS)] == pytest.approx([mine[key] for key in ("min", "max", *SUMS)], rel=1e-4)
        one, other = (np.array(each[1][mine["tensor"]], np.int64) for each in found)
        assert np.abs(np.cumsum(one - other)).max() <= 2 + mine["count"] // 500


def test_channels_and_distributions_run_there_too(job, gpu):
    for run, key in ((observe_channels, "channels"), (profile, "profile")):
        found = [
            safetensors.read(run({**job(key, **executor), "tensors": [{"tensor": "r1", "axis": 1}]}, Events())[key])
            for executor in ({}, {"kind": "torch", "gpu": gpu})
        ]
        for name, array in found[0].items():
            np.testing.assert_allclose(found[1][name], array, rtol=1e-4, atol=1e-5)


def test_samples_that_overflow_are_named_and_devices_that_are_not_there(job, gpu, tmp_path):
    params = {**job("observe", kind="torch", gpu=gpu), "tensors": ["x", "c1"]}
    x = np.full((1, 3, 16, 16), 3e38, np.float32)
    np.save(str(tmp_path / "data" / "1.npy"), x)
    with open(observe(params, Events())["statistics"], encoding="utf-8") as file:
        warnings = json.load(file)["warnings"]
    assert "'c1'" in warnings[0] and "NaN or infinite values in 1 of 3 samples: 1.npy" in warnings[0]
    with pytest.raises(DoptError) as caught:
        observe({**params, "executor": {"kind": "torch", "gpu": 99}}, Events())
    assert caught.value.code == "GPU_UNAVAILABLE"


def test_weights_in_a_folder_that_cannot_be_written_to(job, tmp_path, monkeypatch):
    given = {**job("observe"), "tensors": ["c1", "r1"]}
    save(load(given["model"]), given["model"], save_as_external_data=True, location="weights.bin", size_threshold=0)
    plain = observe(given, Events())

    def refuse(path, *rest, **named):
        if ".observer-" in str(path):
            raise OSError(errno.EROFS, "Read-only file system")
        return open(path, *rest, **named)

    monkeypatch.setattr(session, "open", refuse, raising=False)
    again = observe({**given, "out": str(tmp_path / "again")}, Events())
    for one, other in zip(safetensors.read(plain["histograms"]).values(), safetensors.read(again["histograms"]).values()):
        np.testing.assert_array_equal(one, other)
