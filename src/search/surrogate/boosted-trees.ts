import type { Draws } from '../algorithms/random.js';
import type { Predictor } from './kernel-ridge.js';

/** Trees, their depth, the share of each tree that counts, and of the rows that it is made of. */
const TREES = 60;
const DEPTH = 3;
const SHRINKAGE = 0.15;
const SHARE = 0.7;
/** Fewest rows of a leaf, and most places at which a feature is cut. */
const LEAF = 3;
const BINS = 16;

/** A cut of the rows by one feature: what is equal to the value, or not above it, goes left. */
interface Cut {
  feature: number;
  value: number;
  left: Node;
  right: Node;
}
type Node = Cut | number;

/** A feature by places: row by row the place of its value, and the values that cuts between the places have. */
interface Binned {
  places: Uint8Array;
  cuts: Float64Array;
}

/**
 * Gradient boosting of regression trees under squared error (Friedman, "Greedy function approximation: a gradient boosting
 * machine", Annals of Statistics 2001, algorithm 2 with the shrinkage of section 5), each tree of a part of the rows
 * (Friedman, "Stochastic gradient boosting", 2002, algorithm 1). Where few genes decide, it needs fewer rows than a kernel,
 * to which all genes are alike.
 */
export class BoostedTrees implements Predictor {
  private readonly mean: number;
  private readonly trees: Node[] = [];

  /**
   * @param rows features of the networks that were tried
   * @param targets their scores
   * @param unordered how many features, the first ones, have values without an order
   */
  constructor(
    rows: readonly Float64Array[],
    targets: readonly number[],
    private readonly unordered: number,
    draws: Draws,
  ) {
    this.mean = targets.reduce((a, b) => a + b, 0) / targets.length;
    const rest = Float64Array.from(targets, (value) => value - this.mean);
    const features = Array.from({ length: rows[0]!.length }, (_, feature) =>
      binned(rows, feature, feature < unordered),
    );
    for (let tree = 0; tree < TREES; tree++) {
      const some = Array.from(rows.keys()).filter(() => draws.next() < SHARE);
      const grown = this.grow(some, rest, features, DEPTH);
      this.trees.push(grown);
      rows.forEach((row, at) => {
        rest[at]! -= SHRINKAGE * this.follow(grown, row);
      });
    }
  }

  predict(features: Float64Array): number {
    return this.trees.reduce<number>((sum, tree) => sum + SHRINKAGE * this.follow(tree, features), this.mean);
  }

  private follow(tree: Node, row: Float64Array): number {
    let node = tree;
    while (typeof node !== 'number') {
      const value = row[node.feature]!;
      node = (node.feature < this.unordered ? value === node.value : value <= node.value)
        ? node.left
        : node.right;
    }
    return node;
  }

  /** A tree whose leaves are means of what is left to explain. */
  private grow(
    rows: readonly number[],
    rest: Float64Array,
    features: readonly Binned[],
    depth: number,
  ): Node {
    const total = rows.reduce((sum, row) => sum + rest[row]!, 0);
    const leaf = rows.length > 0 ? total / rows.length : 0;
    if (depth === 0 || rows.length < 2 * LEAF) return leaf;
    const best = this.bestCut(rows, rest, features, total);
    if (!best) return leaf;
    const { places } = features[best.feature]!;
    const goesLeft = (row: number): boolean =>
      best.feature < this.unordered ? places[row] === best.place : places[row]! <= best.place;
    const [left, right]: [number[], number[]] = [[], []];
    for (const row of rows) (goesLeft(row) ? left : right).push(row);
    return {
      feature: best.feature,
      value: features[best.feature]!.cuts[best.place]!,
      left: this.grow(left, rest, features, depth - 1),
      right: this.grow(right, rest, features, depth - 1),
    };
  }

  /** The cut that explains most (equation 35: the squared difference of both means, weighed); null where none does. */
  private bestCut(
    rows: readonly number[],
    rest: Float64Array,
    features: readonly Binned[],
    total: number,
  ): { feature: number; place: number } | null {
    const sums = new Float64Array(256);
    const counts = new Uint32Array(256);
    let best: { feature: number; place: number } | null = null;
    let most = 1e-12;
    features.forEach(({ places, cuts }, feature) => {
      sums.fill(0, 0, cuts.length + 1);
      counts.fill(0, 0, cuts.length + 1);
      for (const row of rows) {
        const place = places[row]!;
        sums[place]! += rest[row]!;
        counts[place]!++;
      }
      let [sum, count] = [0, 0];
      for (let place = 0; place < cuts.length; place++) {
        sum = feature < this.unordered ? sums[place]! : sum + sums[place]!;
        count = feature < this.unordered ? counts[place]! : count + counts[place]!;
        const others = rows.length - count;
        if (count < LEAF || others < LEAF) continue;
        const gain = ((count * others) / rows.length) * (sum / count - (total - sum) / others) ** 2;
        if (gain <= most) continue;
        most = gain;
        best = { feature, place };
      }
    });
    return best;
  }
}

/** A feature's places: one for each value, where they are few or without order; else as many as there are bins. */
function binned(rows: readonly Float64Array[], feature: number, unordered: boolean): Binned {
  const values = rows.map((row) => row[feature]!).sort((a, b) => a - b);
  const distinct = values.filter((value, at) => at === 0 || value !== values[at - 1]);
  const ends =
    unordered || distinct.length <= BINS
      ? distinct
      : Array.from({ length: BINS }, (_, bin) => values[Math.ceil(((bin + 1) * values.length) / BINS) - 1]!);
  const cuts = ends.filter((value, at) => at === 0 || value !== ends[at - 1]);
  const places = Uint8Array.from(rows, (row) => {
    const place = cuts.findIndex((value) => row[feature]! <= value);
    return Math.min(place, 255);
  });
  // Behind the last value of an order there is nothing to cut off.
  return { places, cuts: Float64Array.from(unordered ? cuts : cuts.slice(0, -1)) };
}
