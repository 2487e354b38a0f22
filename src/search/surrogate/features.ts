import type { Genome, Space } from '../space.js';

/**
 * A genome as numbers among which distances make sense: a gene without order has one place a choice, so that any two
 * values are one apart (squared); one with order a place for each step, and its ends are one apart.
 */
export function encode(space: Space, genome: Genome, more: readonly number[] = []): Float64Array {
  const own = space.reduce((sum, { choices, ordered }) => sum + (ordered ? choices - 1 : choices), 0);
  const length = own + more.length;
  const features = new Float64Array(length);
  let at = 0;
  space.forEach(({ choices, ordered }, gene) => {
    const value = genome[gene]!;
    if (ordered) {
      const step = Math.sqrt(1 / Math.max(1, choices - 1));
      for (let i = 0; i < value; i++) features[at + i] = step;
      at += choices - 1;
    } else {
      features[at + value] = Math.SQRT1_2;
      at += choices;
    }
  });
  features.set(more, at);
  return features;
}

export function squaredDistance(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = a[i]! - b[i]!;
    sum += difference * difference;
  }
  return sum;
}
