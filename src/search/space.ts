import type { Draws } from './algorithms/random.js';

/** One decision of a network: a number of choices, which stand in an order (kernel sizes) or do not (kinds of block). */
export interface Gene {
  choices: number;
  ordered: boolean;
}

/** All networks of a search: one whole number below `choices` for each gene. */
export type Space = readonly Gene[];
export type Genome = readonly number[];

/** A genome as text: the same for the same genome only, as short as it gets. */
export function genomeKey(genome: Genome): string {
  const codes = new Array<number>(genome.length);
  for (let gene = 0; gene < genome.length; gene++) {
    const value = genome[gene]!;
    if (value >= 36) return genome.join('.');
    // Digits, then letters.
    codes[gene] = value < 10 ? 48 + value : 87 + value;
  }
  return String.fromCharCode(...codes);
}

/** The genome that a key stands for. */
export const genomeOf = (key: string): Genome =>
  key.includes('.') ? key.split('.').map(Number) : [...key].map((digit) => Number.parseInt(digit, 36));

/** How many genomes a space has; Infinity where a double cannot say. */
export const spaceSize = (space: Space): number => space.reduce((size, { choices }) => size * choices, 1);

/** The genome at a place in the list of all: the first gene changes fastest. */
export function genomeAt(space: Space, index: number): Genome {
  let rest = index;
  return space.map(({ choices }) => {
    const value = rest % choices;
    rest = Math.floor(rest / choices);
    return value;
  });
}

export const randomGenome = (space: Space, draws: Draws): Genome =>
  space.map(({ choices }) => draws.below(choices));

/** Another value of a gene: the next one up or down where there is an order, mostly, else any. */
function otherValue({ choices, ordered }: Gene, value: number, draws: Draws): number {
  if (ordered && choices > 2 && draws.next() < 0.7) {
    const up = value === 0 || (value < choices - 1 && draws.next() < 0.5);
    return up ? value + 1 : value - 1;
  }
  const other = draws.below(choices - 1);
  return other < value ? other : other + 1;
}

/**
 * A genome with exactly `count` genes changed: one, mostly (White et al., "Local search is state of the art for neural
 * architecture search benchmarks", 2020: small steps from good networks find better ones).
 */
export function mutate(space: Space, genome: Genome, draws: Draws, count = 1): Genome {
  const changed = genome.slice();
  const done: number[] = [];
  // Goes through the genes instead of listing them: thousands of networks a second are changed.
  const isOpen = (gene: number): boolean => space[gene]!.choices > 1 && !done.includes(gene);
  for (let step = 0; step < count; step++) {
    let open = 0;
    for (let gene = 0; gene < space.length; gene++) if (isOpen(gene)) open++;
    if (open === 0) break;
    let gene = -1;
    for (let left = draws.below(open); left >= 0; ) if (isOpen(++gene)) left--;
    changed[gene] = otherValue(space[gene]!, changed[gene]!, draws);
    done.push(gene);
  }
  return changed;
}

/** A genome whose genes come from either parent (uniform crossover: Syswerda, ICGA 1989). */
export const crossOver = (first: Genome, second: Genome, draws: Draws): Genome =>
  first.map((value, gene) => (draws.next() < 0.5 ? value : second[gene]!));

/** All genomes that differ in one gene, in an order that the draws decide. */
export function neighbours(space: Space, genome: Genome, draws: Draws): Genome[] {
  const found = space.flatMap(({ choices }, gene) =>
    Array.from({ length: choices }, (_, value) => value)
      .filter((value) => value !== genome[gene])
      .map((value) => genome.map((old, index) => (index === gene ? value : old))),
  );
  for (let last = found.length - 1; last > 0; last--) {
    const other = draws.below(last + 1);
    [found[last], found[other]] = [found[other]!, found[last]!];
  }
  return found;
}
