"""The real weights files come out as torch.load gives them."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (profile torch or current)")

from craft import trusted_load  # noqa: E402

from dopt.doors.torch.checkpoint import load_checkpoint  # noqa: E402


def test_all_files(assets):
    files = sorted(path for end in ("pth", "pt", "th") for path in assets.rglob(f"*.{end}"))
    assert len(files) >= 6
    for path in files:
        expected = trusted_load(str(path))
        for key in ("state_dict", "model"):
            expected = expected.get(key, expected)
        checkpoint = load_checkpoint(str(path))
        assert checkpoint.notes == [] and list(checkpoint.state) == list(expected), path
        for name, tensor in expected.items():
            mine = checkpoint.state[name]
            assert (mine.dtype, mine.stride()) == (tensor.dtype, tensor.stride()) and torch.equal(mine, tensor), (path, name)
