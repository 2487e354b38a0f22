"""The ctypes bindings: the whole interface is declared, native and numpy observers agree, damaged input is refused."""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dopt import native
from dopt.errors import DoptError
from dopt.native_abi import ABI_VERSION, SIGNATURES, Conv2dShape, HistogramState
from dopt.native_numpy import NumpyCore

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = native.candidates()[0]

@pytest.fixture
def core():
    if not os.path.exists(LIBRARY):
        pytest.skip("no native library at %s: run npm run build:native" % LIBRARY)
    return native.NativeCore(LIBRARY)


def feed(histograms, arrays):
    """One update with all arrays, array i to tensor i."""
    histograms.update([(i, a.ctypes.data, a.size) for i, a in enumerate(arrays)])


def batch(rng, tensors):
    """Float32 arrays of many scales with zeros, NaN, infinities and denormals among them."""
    arrays = []
    for _ in range(tensors):
        size = int(rng.integers(0, 5000))
        x = rng.standard_normal(size) * 10.0 ** rng.integers(-44, 30) + rng.choice([0.0, 0.0, 1000.0])
        x = x.astype(np.float32)
        if rng.random() < 0.4:
            x = np.maximum(x, 0)
        if size and rng.random() < 0.3:
            x[rng.integers(0, size, 3)] = [np.nan, np.inf, -np.inf]
        arrays.append(x)
    return arrays


def assert_same(one, other):
    """Equal in everything but the last digits of the sums."""
    assert np.array_equal(one.counts(), other.counts())
    for a, b in zip(one.states(), other.states()):
        bound = 1e-9 * np.sqrt(a["count"] * a["sumSquares"])
        assert abs(a.pop("sum") - b.pop("sum")) <= bound
        assert a.pop("sumSquares") == pytest.approx(b.pop("sumSquares"), rel=1e-9)
        assert a == b


def test_declares_the_whole_interface():
    header = (ROOT / "native" / "include" / "dopt.h").read_text()
    declared = set(re.findall(r"^DOPT_API\s+[\w *]+?(dopt_\w+)\(", header, re.MULTILINE))
    assert len(declared) > 30
    assert declared == set(SIGNATURES)


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_library_exports_exactly_the_interface(core):
    listing = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], stdout=subprocess.PIPE, check=True)
    exported = {line.split()[-1] for line in listing.stdout.decode().splitlines()}
    assert exported == set(SIGNATURES)


def test_structures_have_the_sizes_of_the_header():
    assert ctypes.sizeof(HistogramState) == 88
    assert ctypes.sizeof(Conv2dShape) == 136


def test_native_and_numpy_observers_agree(core):
    rng = np.random.default_rng(1)
    for _ in range(60):
        bins = int(rng.integers(8, 300))
        sets = [core.histograms(3, bins), NumpyCore().histograms(3, bins)]
        for _ in range(int(rng.integers(1, 4))):
            arrays = batch(rng, 3)
            for histograms in sets:
                feed(histograms, arrays)
        assert_same(*sets)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_counts_match_numpy_histogram(backend, request):
    chosen = request.getfixturevalue("core") if backend == "native" else NumpyCore()
    x = np.random.default_rng(2).standard_normal(10001).astype(np.float32)
    x[:7] = [0.0, -0.0, 0.0, np.nan, np.inf, -np.inf, np.nan]
    seen = chosen.histograms(1, 2048)
    feed(seen, [x])
    state = seen.states()[0]
    values = x[np.isfinite(x)].astype(np.float64)
    assert (state["count"], state["zeros"], state["nans"], state["infinities"]) == (9997, 3, 2, 2)
    assert (state["min"], state["max"]) == (values.min(), values.max())
    grid = state["histogram"]
    edges = (grid["base"] + np.arange(grid["bins"] + 1)) * grid["width"]
    assert np.array_equal(seen.counts()[0], np.histogram(values[values != 0], edges)[0])
    json.dumps(state, allow_nan=False)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_merge_and_restore_continue_a_run(backend, request):
    chosen = request.getfixturevalue("core") if backend == "native" else NumpyCore()
    rng = np.random.default_rng(3)
    first, second = batch(rng, 4), batch(rng, 4)
    whole, left, right, resumed = (chosen.histograms(4, 64) for _ in range(4))
    feed(whole, first)
    feed(whole, second)
    feed(left, first)
    feed(right, second)
    saved = json.loads(json.dumps(left.states()))
    resumed.restore(saved, left.counts())
    feed(resumed, second)
    assert resumed.states() == whole.states()
    left.merge(right)
    for result in (left, resumed):
        assert_same(result, whole)
    with pytest.raises(ValueError):
        left.merge(left)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_an_index_may_come_twice_and_must_exist(backend, request):
    chosen = request.getfixturevalue("core") if backend == "native" else NumpyCore()
    x = np.ones(5, dtype=np.float32)
    seen = chosen.histograms(2, 16)
    seen.update([(1, x.ctypes.data, 5), (1, x.ctypes.data, 3)])
    assert [s["count"] for s in seen.states()] == [0, 8]
    with pytest.raises(IndexError):
        seen.update([(2, x.ctypes.data, 5)])
    seen.update([])
    assert seen.counts().sum() == 8


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_restore_refuses_what_does_not_fit(backend, request):
    chosen = request.getfixturevalue("core") if backend == "native" else NumpyCore()
    seen = chosen.histograms(1, 16)
    feed(seen, [np.arange(9, dtype=np.float32)])
    states, counts = seen.states(), seen.counts()
    for damage in (
        lambda s, c: (s[:0], c),
        lambda s, c: (s, c[:, :8]),
        lambda s, c: ([{**s[0], "max": 100.0}], c),
        lambda s, c: ([{**s[0], "count": 7}], c),
        lambda s, c: (s, c * 2),
    ):
        with pytest.raises(ValueError):
            chosen.histograms(1, 16).restore(*damage(states, counts))


@pytest.mark.parametrize("limits", [(0, 255), (-128, 127), (-32768, 32767)])
def test_fake_quantize(core, limits):
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((3, 4, 7)) * 30).astype(np.float32)
    x[0, 0, :5] = [np.nan, np.inf, -np.inf, 0.25, -0.25]
    zeros = np.clip(rng.integers(-200, 200, 4), *limits).astype(np.int32)
    scales = np.float32([0.5, 0.01, 3, 1])
    for axis, scale, zero in ((1, scales, zeros), (0, scales[:1], zeros[:1]), (0, scales[:3], zeros[:3]), (-2, scales, zeros)):
        rounded = core.fake_quantize(x, axis, scale, zero, limits)
        assert np.array_equal(rounded, NumpyCore().fake_quantize(x, axis, scale, zero, limits))
        assert np.array_equal(rounded, core.fake_quantize(rounded, axis, scale, zero, limits))
    # Half way goes to even: 0.25 / 0.5 to 0, -0.25 / 0.5 to 0; NaN to zero.
    assert core.fake_quantize(x, 0, scales[:1], [0], limits)[0, 0, [0, 3, 4]].tolist() == [0, 0, 0]


def test_error_sums(core):
    rng = np.random.default_rng(4)
    a = rng.standard_normal(70001).astype(np.float32)
    b = a + rng.standard_normal(70001).astype(np.float32) / 100
    x, y = a.astype(np.float64), b.astype(np.float64)
    expected = [x @ x, (x - y) @ (x - y), x @ y, y @ y]
    for chosen in (core, NumpyCore()):
        assert chosen.error_sums(a.ctypes.data, b.ctypes.data, a.size) == pytest.approx(expected, rel=1e-9)
        assert chosen.error_sums(0, 0, 0) == (0.0, 0.0, 0.0, 0.0)


def test_threads_do_not_change_results(core):
    arrays = batch(np.random.default_rng(5), 9) + [np.ones(200000, dtype=np.float32)]
    results = []
    for threads in (1, 2, 5):
        core.set_threads(threads)
        assert core.build_info()["threads"] == threads
        seen = core.histograms(len(arrays), 64)
        feed(seen, arrays)
        results.append((seen.states(), seen.counts().tolist()))
    core.set_threads(0)
    assert results[0] == results[1] == results[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own_threads(core):
    """Threads do not survive a fork; waiting for the parent's would hang."""
    x = np.ones(300000, dtype=np.float32)
    arrays = [x, x]
    feed(core.histograms(2, 64), arrays)
    child = os.fork()
    if child == 0:
        seen = core.histograms(2, 64)
        feed(seen, arrays)
        os._exit(0 if seen.states()[1]["count"] == x.size else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_refused_call_says_why(core):
    with pytest.raises(DoptError, match="bins is 3, expected 8 to 1048576") as caught:
        core.histograms(1, 3)
    assert caught.value.code == "NATIVE_FAILED" and caught.value.place == LIBRARY
    with pytest.raises(DoptError, match="threads is -1"):
        core.set_threads(-1)


def run_load(library):
    """Loads in a fresh interpreter with DOPT_NATIVE_LIB set; its stdout and stderr."""
    program = "from dopt import native; c = native.load(); native.load(); print(c.backend)"
    environment = {**os.environ, "DOPT_NATIVE_LIB": library, "PYTHONPATH": str(ROOT / "python")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True
    )
    return done.stdout.decode().strip(), done.stderr.decode()


def test_falls_back_to_numpy_with_one_warning(tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    for library in (str(broken), str(tmp_path / "missing.so")):
        backend, warning = run_load(library)
        assert backend == "numpy"
        assert len(warning.splitlines()) == 1 and library in warning


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_another_interface_version_is_refused(tmp_path):
    source = tmp_path / "old.c"
    functions = "".join("int %s(void) { return 0; }\n" % n for n in SIGNATURES if n != "dopt_abi_version")
    source.write_text(functions + "int dopt_abi_version(void) { return 99; }\n")
    library = tmp_path / "old.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", str(library), str(source)], check=True)
    with pytest.raises(native.NativeLibraryError, match="version 99, this dopt needs %d: run npm run build:native" % ABI_VERSION):
        native.NativeCore(str(library))
