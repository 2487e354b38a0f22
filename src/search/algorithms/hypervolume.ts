/**
 * The volume that points dominate up to a reference point, all objectives minimised: what a set of networks is worth as a
 * whole (Zitzler, Thiele, PPSN 1998). Objectives are taken off one at a time, in slices between neighbouring values of the
 * last one (While et al., "A faster algorithm for calculating hypervolume", 2006, section III).
 */
export function hypervolume(points: readonly (readonly number[])[], reference: readonly number[]): number {
  const inside = points.filter((point) => point.every((value, i) => value < reference[i]!));
  return slice(inside, reference, reference.length);
}

function slice(
  points: readonly (readonly number[])[],
  reference: readonly number[],
  objectives: number,
): number {
  if (points.length === 0) return 0;
  if (objectives === 1) return reference[0]! - Math.min(...points.map((point) => point[0]!));
  const last = objectives - 1;
  const sorted = [...points].sort((a, b) => a[last]! - b[last]!);
  if (objectives === 2) return area(sorted, reference);
  let volume = 0;
  for (let i = 0; i < sorted.length; i++) {
    const depth = (sorted[i + 1]?.[last] ?? reference[last]!) - sorted[i]![last]!;
    if (depth > 0) volume += depth * slice(sorted.slice(0, i + 1), reference, last);
  }
  return volume;
}

/** Of two objectives, by the second. */
function area(sorted: readonly (readonly number[])[], reference: readonly number[]): number {
  let total = 0;
  let least = reference[0]!;
  for (const [first, second] of sorted as readonly (readonly [number, number])[]) {
    if (first >= least) continue;
    total += (least - first) * (reference[1]! - second);
    least = first;
  }
  return total;
}
