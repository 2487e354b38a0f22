"""Names close to one that was not found: the counterpart of src/graph/near-match.ts for where there is no Node."""

from typing import Iterable, List


def near_matches(name: str, known: Iterable[str], most: int = 3) -> List[str]:
    """At most ``most`` known names, best first; none that share almost nothing with ``name``."""
    wanted = name.lower()
    scored = []
    for candidate in sorted(set(known)):
        text = candidate.lower()
        if text in wanted or wanted in text:
            distance = abs(len(text) - len(wanted)) / 100
        else:
            distance = edit_distance(wanted, text)
        if distance <= max(2, max(len(name), len(candidate)) * 0.4):
            scored.append((distance, candidate))
    return [candidate for _, candidate in sorted(scored)[:most]]


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance: fewest insertions, deletions and replacements of a character."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        above, row = row, [i]
        for j, right in enumerate(b, 1):
            row.append(min(above[j - 1] + (left != right), above[j] + 1, row[j - 1] + 1))
    return row[-1]
