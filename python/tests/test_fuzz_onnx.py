"""Damaged ONNX files: the loading path answers each with a capture or a DoptError, in bounded time, and never crashes."""

import resource

import pytest
from fuzzing import fuzz
from models import convolutional
from mutations import mutate, seeds

from dopt.errors import DoptError

CASES = 1500


def _used():
    """Processor seconds of this process and of its children: models are read in one of their own each."""
    return sum(
        usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def test_mutated_models(tmp_path, capture):
    models, path = seeds(), tmp_path / "m.onnx"

    def read(data):
        path.write_bytes(data)
        try:
            capture(path)
        except DoptError as error:
            assert str(path) in error.message, error.message
            raise

    outcomes = fuzz("ONNX models", CASES, lambda rng: mutate(rng, models), read, used=_used)
    # The mutations must neither be all harmless nor all caught by the first check.
    assert outcomes["read"] > sum(outcomes.values()) / 50 and len(outcomes) >= 6


def test_every_truncation(tmp_path, capture):
    data = convolutional().SerializeToString()
    path = tmp_path / "m.onnx"
    for length in range(0, len(data) - 1, 37):
        path.write_bytes(data[:length])
        with pytest.raises(DoptError):
            capture(path)
