"""Lines of text that a CTC recognizer reads without a mistake, and the share of its characters that are right.

Outputs are scores [1, steps, characters] (or [steps, 1, characters]), the first character being CTC's blank (Graves et al.,
ICML 2006, section 3.2: the most probable character a step, repetitions and blanks taken out). Labels are texts. Put the
dictionary of the network, one character a line, beside a copy of this file as ``dictionary.txt``; without it labels are the
numbers of the characters, separated by blanks: "12 7 31".
"""

import os

import numpy as np

DICTIONARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dictionary.txt")


def evaluate(outputs, labels):
    characters = _characters()
    lines = [(_read(np.asarray(output), characters), _label(label, characters)) for output, label in zip(outputs, labels)]
    whole = 100.0 * np.mean([read == label for read, label in lines])
    wrong = sum(_edits(read, label) for read, label in lines)
    return {"lines": float(whole), "characters": 100.0 * (1.0 - wrong / max(1, sum(len(label) for _, label in lines)))}


def _characters():
    if not os.path.exists(DICTIONARY):
        return None
    with open(DICTIONARY, encoding="utf-8") as file:
        return [line.rstrip("\r\n") for line in file]


def _read(scores, characters):
    """The line as a list of characters, or of numbers where there is no dictionary."""
    steps = scores[0] if scores.shape[0] == 1 else scores.reshape(scores.shape[0], -1)
    best = steps.argmax(axis=1)
    kept = [int(c) for i, c in enumerate(best) if c != 0 and (i == 0 or c != best[i - 1])]
    # What lies behind the dictionary is the space.
    return kept if characters is None else [characters[c - 1] if c <= len(characters) else " " for c in kept]


def _label(label, characters):
    return list(str(label)) if characters is not None else [int(part) for part in str(label).split()]


def _edits(a, b):
    """Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row = row, [i]
        for j, right in enumerate(b, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right)))
    return row[-1]
