import type { Genome, Space } from '../space.js';

/** Two vectors of features as a distance that a kernel can use. */
export type Distance = (a: Float64Array, b: Float64Array) => number;

/**
 * Turns genomes into numbers among which distances make sense: values of a gene without order are all one apart, those of
 * one with order as far as their places are, its ends one; what is known beside the genome counts by its square.
 */
export class Encoding {
  /** Genes without order first, then those with it. */
  private readonly order: readonly number[];
  /** Features without order: so many, and the first ones. */
  readonly unordered: number;

  constructor(private readonly space: Space) {
    const genes = space.map((_, gene) => gene);
    const without = genes.filter((gene) => !space[gene]!.ordered);
    this.order = [...without, ...genes.filter((gene) => space[gene]!.ordered)];
    this.unordered = without.length;
  }

  encode(genome: Genome, more: readonly number[] = []): Float64Array {
    const features = new Float64Array(this.order.length + more.length);
    this.order.forEach((gene, at) => {
      const { choices } = this.space[gene]!;
      features[at] = at < this.unordered ? genome[gene]! : genome[gene]! / Math.max(1, choices - 1);
    });
    features.set(more, this.order.length);
    return features;
  }

  readonly distance: Distance = (a, b) => {
    let sum = 0;
    const [unordered, genes] = [this.unordered, this.order.length];
    for (let i = 0; i < unordered; i++) if (a[i] !== b[i]) sum++;
    for (let i = unordered; i < genes; i++) sum += Math.abs(a[i]! - b[i]!);
    for (let i = genes; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
    return sum;
  };
}
