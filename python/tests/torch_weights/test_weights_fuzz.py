"""Damaged weights files: each is read or refused with a DoptError, in bounded time and memory, and nothing runs."""

import resource
from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (profile torch or current)")
np = pytest.importorskip("numpy")

from craft import save  # noqa: E402
from fuzzing import damaged_bytes, fuzz  # noqa: E402

from dopt.doors.torch.checkpoint import load_checkpoint  # noqa: E402
from dopt.doors.torch.entry import attach
from dopt.errors import DoptError  # noqa: E402

CASES = 1500
CODES = {"WEIGHTS_BROKEN", "WEIGHTS_REFUSED", "WEIGHTS_EMPTY", "WEIGHTS_FORMAT", "WEIGHTS_TORCHSCRIPT"}
#: Bytes that mean something to one of the two formats.
TELLING = b"\x80\x02\x81\x85\x86\x8a\x93()]}.NQRcbeiopqhrstuX0\x00\x01\x7f\xff"


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


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_mutated_files(tmp_path, form):
    files, path = seeds(tmp_path, form), tmp_path / "m.pth"

    def read(data):
        path.write_bytes(data)
        try:
            checkpoint = load_checkpoint(str(path))
        except DoptError as error:
            assert error.code in CODES and str(path) in error.message and error.suggestions, error.message
            raise
        for tensor in checkpoint.state.values():
            assert tensor.clone().shape == tensor.shape

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = fuzz(f"weights, {form}", CASES, lambda rng: damaged_bytes(rng, files, TELLING), read)
    # The mutations must neither be all harmless nor all caught by the first check.
    cases = sum(outcomes.values())
    assert outcomes["read"] > cases / 50 and outcomes["WEIGHTS_BROKEN"] > cases / 10 and outcomes["WEIGHTS_REFUSED"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200e3


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_every_truncation(tmp_path, form):
    data = seeds(tmp_path, form)[1]
    path = tmp_path / "m.pth"
    for length in range(0, len(data) - 1, 7):
        path.write_bytes(data[:length])
        with pytest.raises(DoptError):
            load_checkpoint(str(path))
