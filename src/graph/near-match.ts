/** Names close to one that was not found, best first: at most `most`, none that share almost nothing with it. */
export function nearMatches(name: string, known: Iterable<string>, most = 3): string[] {
  const wanted = name.toLowerCase();
  const scored = [...new Set(known)]
    .filter((candidate) => candidate !== '')
    .map((candidate) => {
      const text = candidate.toLowerCase();
      const contained = text.includes(wanted) || wanted.includes(text);
      return {
        candidate,
        distance: contained ? Math.abs(text.length - wanted.length) / 100 : editDistance(wanted, text),
      };
    });
  return scored
    .filter(
      ({ candidate, distance }) => distance <= Math.max(2, Math.max(name.length, candidate.length) * 0.4),
    )
    .sort((a, b) => a.distance - b.distance || (a.candidate < b.candidate ? -1 : 1))
    .slice(0, most)
    .map(({ candidate }) => candidate);
}

/** Levenshtein distance: fewest insertions, deletions and replacements of a character. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
