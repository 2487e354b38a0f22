"""Damaged weights files: each is read or refused with a DoptError, in bounded time and memory, and nothing runs."""

import os
import resource
import signal
from collections import Counter, OrderedDict

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (profile torch or current)")
np = pytest.importorskip("numpy")

from craft import save  # noqa: E402

from dopt.doors.torch.checkpoint import load_checkpoint  # noqa: E402
from dopt.doors.torch.entry import attach
from dopt.errors import DoptError  # noqa: E402

CASES = int(os.environ.get("DOPT_FUZZ_CASES", "1500"))
SEED = int(os.environ.get("DOPT_FUZZ_SEED", "0"))
SECONDS = 20
CODES = {"WEIGHTS_BROKEN", "WEIGHTS_REFUSED", "WEIGHTS_EMPTY", "WEIGHTS_FORMAT", "WEIGHTS_TORCHSCRIPT"}
#: Bytes that mean something to one of the two formats.
TELLING = b"\x80\x02\x81\x85\x86\x8a\x93()]}.NQRcbeiopqhrstuX0\x00\x01\x7f\xff"


@pytest.fixture
def alarm():
    """Turns a case that hangs into a failure of that case."""

    def ring(*_):
        raise TimeoutError(f"a case took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda: signal.alarm(SECONDS)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def seeds(folder, form):
    """Small files that together reach most of the reading path."""
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    base = torch.arange(12, dtype=torch.bfloat16)
    checkpoint = {
        "state_dict": OrderedDict((f"module.{name}", tensor) for name, tensor in net.state_dict().items()),
        "optimizer": optimizer.state_dict(),
        "best": np.float64(0.5),
        "size": torch.Size([1, 2]),
        "device": torch.device("cuda:0"),
    }
    attach(checkpoint["state_dict"], {"version": 1, "weights": {}, "inputs": {"0": {"scale": [0.5], "bits": 8}}})
    values = [
        (net.state_dict(), 2),
        (checkpoint, 2),
        (checkpoint, 4),
        ({"a": base, "b": base.reshape(3, 4).t(), "c": torch.nn.Parameter(torch.ones(2).bool().float())}, 2),
    ]
    files = []
    for place, (value, protocol) in enumerate(values):
        path = save(value, folder / f"seed{place}.pth", form, pickle_protocol=protocol)
        with open(path, "rb") as file:
            files.append(file.read())
    return files


def mutate(rng, files):
    """Bytes of one damaged file: cut, bits flipped, telling bytes written, pieces repeated, moved or set to one value."""
    data = bytearray(files[rng.integers(len(files))])
    kind = rng.integers(7)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    for _ in range(rng.integers(1, 6)):
        place, length = int(rng.integers(len(data))), int(rng.integers(1, 9))
        if kind == 1:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            data[place] = TELLING[rng.integers(len(TELLING))]
        elif kind == 3:
            data[place : place + length] = bytes([rng.choice([0, 255, 127, 128])]) * length
        elif kind == 4:
            data[place:place] = data[place : place + length * 8]
        elif kind == 5:
            del data[place : place + length]
        else:
            other = files[rng.integers(len(files))]
            start = int(rng.integers(len(other)))
            data[place : place + length * 4] = other[start : start + length * 4]
    return bytes(data)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_mutated_files(tmp_path, alarm, form):
    files, outcomes = seeds(tmp_path, form), Counter()
    path = tmp_path / "m.pth"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in range(CASES):
        path.write_bytes(mutate(np.random.default_rng([SEED, case]), files))
        alarm()
        try:
            checkpoint = load_checkpoint(str(path))
            for tensor in checkpoint.state.values():
                assert tensor.clone().shape == tensor.shape
            outcomes["read"] += 1
        except DoptError as error:
            assert error.code in CODES and str(path) in error.message and error.suggestions, (case, error.message)
            error.message.encode("utf-8")
            outcomes[error.code] += 1
        except Exception as error:
            raise AssertionError(f"case {case} of seed {SEED}: {type(error).__name__}: {error}") from error
        finally:
            signal.alarm(0)
    print(outcomes)
    # The mutations must neither be all harmless nor all caught by the first check.
    assert outcomes["read"] > CASES / 50 and outcomes["WEIGHTS_BROKEN"] > CASES / 10 and outcomes["WEIGHTS_REFUSED"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200e3


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_every_truncation(tmp_path, alarm, form):
    data = seeds(tmp_path, form)[1]
    path = tmp_path / "m.pth"
    alarm()
    for length in range(0, len(data) - 1, 7):
        path.write_bytes(data[:length])
        with pytest.raises(DoptError):
            load_checkpoint(str(path))
