"""Fuzzing of readers: damaged copies of small valid files, each of which is read or refused with a DoptError, and soon.

A few cases run with all tests. ``npm run fuzz -- SECONDS --python`` sets DOPT_FUZZ_SECONDS, processor seconds for each reader,
and DOPT_FUZZ_SEED; a failure names its case and its seed, which make it again.
"""

import copy
import json
import os
import signal
import time
from collections import Counter

import numpy as np

from dopt.errors import DoptError

SEED = int(os.environ.get("DOPT_FUZZ_SEED", "0"))
#: Seconds by the clock after which a case counts as hanging: many, for other work may go on on the machine.
SLOWEST = 60
_SECONDS = float(os.environ.get("DOPT_FUZZ_SECONDS", "0"))

#: Numbers at the ends of their types, as bytes.
_EXTREME = [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\x80\0\0\0"]
#: What readers of JSON stumble over. No number is so large that a network of that size could be built for minutes.
_EVIL_VALUES = [None, True, 0, -1, 1, 3, 1 << 40, 1 << 70, 0.5, -0.0, float("nan"), float("inf"), "", "\0", "../x", "é", [], {}, [[]]]
_EVIL_WORDS = ["\0", "\xff", '"', "{", "}", "[", "]", ":", ",", "-1", "9" * 20, "1e999", "NaN", "[" * 2000, "\\u12", "\r", "\u2028", "//"]


def fuzz(reader, cases, make, read, share=1.0, used=time.process_time):
    """Reads ``cases`` files, or as many as fit into ``share`` of DOPT_FUZZ_SECONDS by ``used``, the processor time so far.

    ``make(rng)`` gives the next damaged file in any form, ``read`` takes it. Returns how often each outcome came: "read", or the
    code of a DoptError. Any other exception, an error of kind bug and a case that hangs fail the test.
    """
    outcomes, start, case, slowest = Counter(), used(), 0, (0.0, 0)
    before = signal.signal(signal.SIGALRM, _ring)
    try:
        while (used() - start < _SECONDS * share) if _SECONDS else case < cases:
            before_case = used()
            outcomes[_outcome(case, make(np.random.default_rng([SEED, case])), read)] += 1
            slowest = max(slowest, (used() - before_case, case))
            case += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    took = f"{used() - start:.0f} s of the processor, at most {slowest[0]:.1f} (case {slowest[1]})"
    print(f"\n{reader}, seed {SEED}: {case} cases in {took}, {dict(outcomes.most_common())}")
    return outcomes


def _outcome(case, damaged, read):
    signal.alarm(SLOWEST)
    try:
        read(damaged)
        return "read"
    except DoptError as error:
        assert error.kind != "bug" and error.message, f"case {case} of seed {SEED}: {error.code}: {error.message}"
        error.message.encode("utf-8")
        return error.code
    except Exception as error:
        raise AssertionError(f"case {case} of seed {SEED}: {type(error).__name__}: {error}") from error
    finally:
        signal.alarm(0)


def _ring(*_):
    raise TimeoutError(f"a case took more than {SLOWEST} s")


def damaged_bytes(rng, files, telling=b"\0\xff"):
    """One of ``files`` cut, or with bits flipped, bytes of ``telling`` written, pieces repeated, moved, deleted or filled.

    Half of the damage goes to the first 64 bytes: headers are where harm is done.
    """
    data = bytearray(files[rng.integers(len(files))])
    if rng.random() < 0.15:
        return bytes(data[: rng.integers(len(data))])
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        if not data:
            break
        place = int(rng.integers(min(len(data), 64) if rng.random() < 0.5 else len(data)))
        length = int(rng.integers(1, 9))
        kind = rng.integers(8)
        if kind == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[place] = int(rng.integers(256))
        elif kind == 2:
            data[place] = telling[rng.integers(len(telling))]
        elif kind == 3:
            extreme = _EXTREME[rng.integers(len(_EXTREME))]
            data[place : place + 4] = extreme[: len(data) - place]
        elif kind == 4:
            data[place : place + length] = bytes([rng.choice([0, 127, 128, 255])]) * length
        elif kind == 5:
            data[place:place] = data[place : place + length * 8]
        elif kind == 6:
            del data[place : place + length]
        else:
            other = files[rng.integers(len(files))]
            start = int(rng.integers(len(other)))
            data[place : place + length * 4] = other[start : start + length * 4]
    return bytes(data)


def damaged_json(rng, values):
    """The bytes of one of ``values`` as JSON: members replaced, removed or moved, or the text itself damaged."""
    value = json.loads(json.dumps(values[rng.integers(len(values))]))
    if rng.random() < 0.7:
        for _ in range(rng.integers(1, 4)):
            value = _damaged_member(rng, value)
        return json.dumps(value).encode()
    return damaged_text(rng, [json.dumps(value)])


def damaged_text(rng, texts):
    """One of ``texts`` in UTF-8 with words written into it that readers stumble over, or damaged byte by byte."""
    text = texts[rng.integers(len(texts))]
    if rng.random() < 0.3:
        return damaged_bytes(rng, [text.encode()], b'"{}[],:\\\n')
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(text) + 1))
        word = _EVIL_WORDS[rng.integers(len(_EVIL_WORDS))]
        text = text[:place] + word + text[place + int(rng.integers(4)) :]
    return text.encode("utf-8", "replace")


def _damaged_member(rng, value):
    """A value with one member, at any depth, changed."""
    if isinstance(value, (int, float)) and rng.random() < 0.5:
        # Numbers that are wrong by little get further than those that are absurd.
        return [value + 1, value - 1, value * 2, value // 2, -value, float(value)][rng.integers(6)]
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.1:
        return copy.deepcopy(_EVIL_VALUES[rng.integers(len(_EVIL_VALUES))])
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[rng.integers(len(keys))]
    if rng.random() < 0.15:
        del value[key]
    elif rng.random() < 0.1:
        value[key] = copy.deepcopy(value[keys[rng.integers(len(keys))]])
    else:
        value[key] = _damaged_member(rng, value[key])
    return value
