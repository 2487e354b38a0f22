"""Damaged ONNX files: the loading path answers each with a capture or a DoptError, in bounded time, and never crashes."""

import os
import signal
from collections import Counter

import numpy as np
import pytest
from models import convolutional
from mutations import mutate, seeds

from dopt.errors import DoptError

CASES = int(os.environ.get("DOPT_FUZZ_CASES", "1500"))
SEED = int(os.environ.get("DOPT_FUZZ_SEED", "0"))
SECONDS = 20


@pytest.fixture
def alarm():
    """Turns a case that hangs into a failure of that case."""

    def ring(*_):
        raise TimeoutError(f"a case took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda: signal.alarm(SECONDS)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_mutated_models(tmp_path, capture, alarm):
    models, outcomes = seeds(), Counter()
    path = tmp_path / "m.onnx"
    for case in range(CASES):
        data = mutate(np.random.default_rng([SEED, case]), models)
        path.write_bytes(data)
        if os.environ.get("DOPT_FUZZ_LOG"):
            with open(os.environ["DOPT_FUZZ_LOG"], "w") as log:
                log.write(str(case))
        alarm()
        try:
            capture(path)
            outcomes["captured"] += 1
        except DoptError as error:
            assert str(path) in error.message, (case, error.message)
            outcomes[error.code] += 1
        except Exception as error:
            raise AssertionError(f"case {case} of seed {SEED}: {type(error).__name__}: {error}") from error
        finally:
            signal.alarm(0)
    print(outcomes)
    # The mutations must neither be all harmless nor all caught by the first check.
    assert outcomes["captured"] > CASES / 50 and len(outcomes) >= 6


def test_every_truncation(tmp_path, capture, alarm):
    data = convolutional().SerializeToString()
    path = tmp_path / "m.onnx"
    alarm()
    for length in range(0, len(data) - 1, 37):
        path.write_bytes(data[:length])
        with pytest.raises(DoptError):
            capture(path)
