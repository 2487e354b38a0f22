import type { Genome, Space } from '../space.js';

/** Two vectors of features as a distance that a kernel can use. */
export type Distance = (a: Float64Array, b: Float64Array) => number;

/** Genes count in parts of this: whole numbers add up to the same in any order, and most numbers of choices divide it. */
const UNIT = 27_720;

/**
 * Turns genomes into numbers among which distances make sense: values of a gene without order are all one apart, those of
 * one with order as far as their places are, its ends one; what is known beside the genome counts by its square.
 */
export class Encoding {
  /** Genes without order first, then those with it. */
  private readonly order: readonly number[];
  /** Features without order: so many, and the first ones. */
  readonly unordered: number;
  /** How far neighbouring values of each gene are apart; 1 without order. */
  private readonly steps: readonly number[];

  constructor(space: Space) {
    const genes = space.map((_, gene) => gene);
    const without = genes.filter((gene) => !space[gene]!.ordered);
    this.order = [...without, ...genes.filter((gene) => space[gene]!.ordered)];
    this.unordered = without.length;
    this.steps = this.order.map((gene, at) =>
      at < this.unordered ? 1 : Math.floor(UNIT / Math.max(1, space[gene]!.choices - 1)),
    );
  }

  /** Genes that are ordered in parts of `UNIT`, and `more` behind all genes. */
  encode(genome: Genome, more: readonly number[] = []): Float64Array {
    const { order, steps } = this;
    const features = new Float64Array(order.length + more.length);
    for (let at = 0; at < order.length; at++) features[at] = genome[order[at]!]! * steps[at]!;
    features.set(more, order.length);
    return features;
  }

  readonly distance: Distance = (a, b) => {
    const [unordered, genes] = [this.unordered, this.order.length];
    let sum = 0;
    for (let i = 0; i < unordered; i++) sum += a[i] === b[i] ? 0 : UNIT;
    for (let i = unordered; i < genes; i++) sum += Math.abs(a[i]! - b[i]!);
    return beside(sum / UNIT, genes, a, b);
  };

  /** Distances of networks from some rows. */
  from(rows: readonly Float64Array[]): Distances {
    return new Distances(rows, this.unordered, this.order.length);
  }
}

/** A distance of genes with what is known beside them. */
function beside(apart: number, genes: number, a: Float64Array, b: Float64Array): number {
  let sum = apart;
  for (let i = genes; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return sum;
}

/** Networks whose distances are remembered: with more of them it takes longer to find the nearest than it saves. */
const REMEMBERED = 48;

interface Remembered {
  features: Float64Array;
  sums: Int32Array;
}

/**
 * Distances of networks from the same rows, one network after the other. Those that a search thinks of are alike: the
 * distances of one are those of another and what the genes that they differ in change, gene by gene over all rows.
 */
export class Distances {
  /** Values of all rows, by gene. */
  private readonly columns: Int32Array[];
  private readonly known: Remembered[] = [];
  private asked = 0;

  /** @param unordered how many of the genes, the first ones, have no order */
  constructor(
    private readonly rows: readonly Float64Array[],
    private readonly unordered: number,
    private readonly genes: number,
  ) {
    this.columns = Array.from({ length: genes }, (_, gene) => Int32Array.from(rows, (row) => row[gene]!));
  }

  of(features: Float64Array): Float64Array {
    const near = this.nearest(features);
    const sums = near ? near.sums.slice() : new Int32Array(this.rows.length);
    for (let gene = 0; gene < this.genes; gene++) {
      const now = features[gene]!;
      if (!near) this.add(sums, gene, now);
      else if (near.features[gene] !== now) this.exchange(sums, gene, near.features[gene]!, now);
    }
    this.known[this.asked++ % REMEMBERED] = { features, sums };
    const distances = new Float64Array(sums.length);
    for (let row = 0; row < sums.length; row++)
      distances[row] = beside(sums[row]! / UNIT, this.genes, features, this.rows[row]!);
    return distances;
  }

  /** Adds how far a value of a gene is from that of each row. */
  private add(sums: Int32Array, gene: number, value: number): void {
    const column = this.columns[gene]!;
    if (gene < this.unordered)
      for (let row = 0; row < sums.length; row++) sums[row]! += column[row] === value ? 0 : UNIT;
    else for (let row = 0; row < sums.length; row++) sums[row]! += Math.abs(column[row]! - value);
  }

  /** The same with one value in the place of another. */
  private exchange(sums: Int32Array, gene: number, before: number, now: number): void {
    const column = this.columns[gene]!;
    for (let row = 0; row < sums.length; row++) {
      const value = column[row]!;
      if (gene >= this.unordered) sums[row]! += Math.abs(value - now) - Math.abs(value - before);
      else if (value === now) sums[row]! -= UNIT;
      else if (value === before) sums[row]! += UNIT;
    }
  }

  /** The remembered network that differs in the fewest genes; undefined where that is more than half of them. */
  private nearest(features: Float64Array): Remembered | undefined {
    let found: Remembered | undefined;
    let fewest = this.genes / 2;
    for (const one of this.known) {
      let differ = 0;
      for (let gene = 0; gene < this.genes && differ < fewest; gene++)
        if (features[gene] !== one.features[gene]) differ++;
      if (differ >= fewest) continue;
      fewest = differ;
      found = one;
    }
    return found;
  }
}
