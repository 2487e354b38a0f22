import { kendall } from './kendall.js';

/** Kendall's tau of one order with another, and its standard error over networks. */
export interface Ranked {
  tau: number;
  error: number;
}

/** Tau with `by` in each of the sets that lie behind each other in both lists, each as long as the others, and in all of them where they are several. */
export function rankedBy(values: readonly number[], by: readonly number[], sets: number): Ranked[] {
  const count = values.length / sets;
  const parts = Array.from({ length: sets }, (_, set) => [set * count, (set + 1) * count] as const);
  const all = sets === 1 ? [] : [[0, values.length] as const];
  return [...parts, ...all].map(([from, to]) => jackknifed(values.slice(from, to), by.slice(from, to)));
}

/** The error is that of leaving out one network at a time (Efron, Stein, "The jackknife estimate of variance", 1981). */
export function jackknifed(a: readonly number[], b: readonly number[]): Ranked {
  const without = a.map((_, at) => kendall(a.toSpliced(at, 1), b.toSpliced(at, 1)));
  const mean = without.reduce((sum, each) => sum + each, 0) / without.length;
  const squares = without.reduce((sum, each) => sum + (each - mean) ** 2, 0);
  return { tau: kendall(a, b), error: Math.sqrt(((a.length - 1) / a.length) * squares) };
}

/**
 * How well seeds of training alone agree, and what tau a guide would have with their mean that knows what each network
 * would reach on average. A mean of n seeds that correlate by r has a share of n r / (1 + (n - 1) r) that is no luck
 * (Spearman, Brown, 1910); tau of two normal variables that correlate by r is 2/π asin r (Kendall, "Rank correlation methods").
 */
export function agreement(seeds: readonly (readonly number[])[]): string[] {
  const pairs = seeds.flatMap((one, at) => seeds.slice(0, at).map((other) => [one, other] as const));
  const taus = pairs.map(([one, other]) => kendall(one, other));
  const r = pairs.reduce((sum, [one, other]) => sum + pearson(one, other), 0) / pairs.length;
  const share = (seeds.length * r) / (1 + (seeds.length - 1) * r);
  const most = (2 / Math.PI) * Math.asin(Math.sqrt(share));
  return [
    `One seed alone and another agree by ${taus.map((tau) => tau.toFixed(2)).join(', ')} (tau), ${r.toFixed(2)} (correlation);`,
    `of the variance of their mean ${(100 * share).toFixed(0)} % is no luck. A guide that knew what each network reaches on average had a tau of ${most.toFixed(2)}.`,
  ];
}

function pearson(a: readonly number[], b: readonly number[]): number {
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, each) => sum + each, 0) / values.length;
  const [x, y] = [mean(a), mean(b)];
  const product = (of: readonly number[], ox: number, other: readonly number[], oy: number): number =>
    of.reduce((sum, each, at) => sum + (each - ox) * (other[at]! - oy), 0);
  return product(a, x, b, y) / Math.sqrt(product(a, x, a, x) * product(b, y, b, y));
}
