import { type Judged, ranking } from './dominance.js';

/**
 * How much training networks get: all of them `rungs[0]` epochs, the best of those `rungs[1]`, and so on; a share of one in
 * `factor` goes on at each rung.
 */
export interface Halving {
  /** Epochs in all at each rung, ascending. */
  rungs: readonly number[];
  factor: number;
}

/**
 * Rungs of successive halving (Jamieson, Talwalkar, "Non-stochastic best arm identification and hyperparameter
 * optimization", AISTATS 2016, figure 1): `first` epochs and so many times more at each further one, the last with `most`.
 */
export function halvingOf({ first, factor, most }: { first: number; factor: number; most: number }): Halving {
  const rungs: number[] = [];
  for (let epochs = first; epochs < most; epochs *= factor) rungs.push(epochs);
  return { rungs: [...rungs, most], factor };
}

/** A network at some rung: what it scored there and costs. */
export interface Placed extends Judged {
  key: string;
}

/** A network that goes on, and the epochs that it will have had then. */
export interface Promotion {
  key: string;
  epochs: number;
}

/**
 * Networks that go on to the next rung: at each rung those among the best of one in `factor` of all that have come so far
 * that have not gone on yet (Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020, algorithm 2,
 * get_job), so that none has to wait for a rung to be full. Of several objectives, the best are those that a selection
 * keeps first (Schmucker et al., "Multi-objective asynchronous successive halving", 2021, section 3).
 * @param placed all networks with a verdict by rung; those that went on stand at each of their rungs
 * @param gone whether a network has gone on from a rung, though it may not have a verdict there yet
 * @returns those of the highest rung first
 */
export function promotions(
  { rungs, factor }: Halving,
  placed: readonly (readonly Placed[])[],
  gone: (key: string, epochs: number) => boolean,
): Promotion[] {
  const found: Promotion[] = [];
  for (let rung = rungs.length - 2; rung >= 0; rung--) {
    const all = placed[rung] ?? [];
    const epochs = rungs[rung + 1]!;
    for (const index of ranking(all).slice(0, Math.floor(all.length / factor))) {
      const { key, violation } = all[index]!;
      if (violation === 0 && !gone(key, epochs)) found.push({ key, epochs });
    }
  }
  return found;
}

/**
 * What scores at each rung have to be lowered by to compare with those of the first: the sum of what networks gained from
 * rung to rung on average, over those that stand on both.
 * @param scores of each network by rung, as far as it came
 */
export function gains(rungs: number, scores: Iterable<readonly number[]>): number[] {
  const sums = new Array<number>(rungs).fill(0);
  const counts = new Array<number>(rungs).fill(0);
  for (const row of scores)
    for (let rung = 1; rung < row.length; rung++) {
      sums[rung]! += row[rung]! - row[rung - 1]!;
      counts[rung]!++;
    }
  let total = 0;
  return sums.map((sum, rung) => {
    total += counts[rung]! > 0 ? sum / counts[rung]! : 0;
    return total;
  });
}
