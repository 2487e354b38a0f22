/** Makes other settings of some; null where it would change nothing. */
export type Change<S> = (settings: S) => S | null;

/**
 * Coordinate descent over settings: each change in turn is tried on the best settings so far and kept where it is better,
 * again and again until a whole pass over the changes brings nothing. Settings are evaluated once.
 *
 * @param evaluate what settings come to; null ends the search (the time is over), never for `start`
 * @param better whether the first outcome is better than the second
 * @param passes over the changes at most
 * @returns the best settings found
 */
export async function descend<S, T extends object | number>(
  start: S,
  changes: readonly Change<S>[],
  evaluate: (settings: S) => Promise<T | null>,
  better: (a: T, b: T) => boolean,
  passes = Number.POSITIVE_INFINITY,
): Promise<S> {
  const tried = new Set([JSON.stringify(start)]);
  let settings = start;
  let outcome = (await evaluate(start))!;
  for (let pass = 0; pass < passes; pass++) {
    let improved = false;
    for (const change of changes) {
      const next = change(settings);
      if (next === null || tried.has(JSON.stringify(next))) continue;
      tried.add(JSON.stringify(next));
      const found = await evaluate(next);
      if (found === null) return settings;
      if (!better(found, outcome)) continue;
      settings = next;
      outcome = found;
      improved = true;
    }
    if (!improved) break;
  }
  return settings;
}
