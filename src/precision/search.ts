/** What a tensor can take in the place of 8 bits. */
export type Wider = 'int16' | 'float';

/** One widening: what it is expected to take away from the noise, and what it adds to the cost. */
export interface Step {
  tensor: string;
  to: Wider;
  /** Part of the noise at the outputs, by sensitivity alone. */
  relief: number;
  /** Cost that it adds, in the unit of the evaluations. */
  cost: number;
}

/** Tensors that are wider than 8 bits. */
export type Widths = ReadonlyMap<string, Wider>;

/** What a model with some tensors wider came to. */
export interface Evaluation {
  /** How far the goal was missed, in its unit; 0 or below where it was reached. */
  missed: number;
  cost: number;
}

export interface Found {
  widths: Widths;
  reached: boolean;
}

/** Most widenings that are taken back one by one at the end. */
const PRUNED = 8;

/**
 * The cheapest set of wider tensors that reaches a goal. Each set is judged by what its model really does, never by the
 * sum of its parts:
 *
 * 1. Widenings are ordered by relief over cost, each tensor's first before its second (the greedy order of the
 *    multiple-choice knapsack: Sinha and Zoltners, Operations Research 27, 1979; sensitivity and greedy search as in
 *    Pandey et al., arXiv 2302.05397).
 * 2. The shortest beginning of that order that reaches the goal is found by doubling, then by halving.
 * 3. Each of its members is left out in turn, the least relief for its cost first; it stays out where the goal is reached
 *    without it.
 *
 * Where not even all of them reach the goal, the set that comes nearest is found instead.
 *
 * @param evaluate measures a set; asked once for each
 */
export async function searchWidths(
  steps: readonly Step[],
  evaluate: (widths: Widths) => Promise<Evaluation>,
): Promise<Found> {
  const order = greedyOrder(steps);
  const seen = new Map<number, Evaluation>();
  const reaches = async (count: number): Promise<boolean> => {
    let found = seen.get(count);
    if (!found) {
      found = await evaluate(widthsOf(order.slice(0, count)));
      seen.set(count, found);
    }
    return found.missed <= 0;
  };

  let low = 0;
  if (await reaches(0)) return { widths: new Map(), reached: true };
  let high = Math.min(1, order.length);
  while (!(await reaches(high))) {
    low = high;
    if (high === order.length) return { widths: widthsOf(order.slice(0, nearest(seen))), reached: false };
    high = Math.min(order.length, 2 * high);
  }
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (await reaches(middle)) high = middle;
    else low = middle;
  }
  return { widths: widthsOf(await pruned(order.slice(0, high), evaluate)), reached: true };
}

/**
 * Part of the dearest step's cost that any step is taken to cost at least: a conversion on either side is never for
 * nothing, and steps that hide behind other work on the device must still be told apart by what they bring.
 */
const LEAST_COST = 0.01;

/** Steps by relief over cost, those of one tensor in the order of their cost. */
export function greedyOrder(steps: readonly Step[]): Step[] {
  const least = LEAST_COST * Math.max(0, ...steps.map(({ cost }) => cost)) || 1;
  const worth = ({ relief, cost }: Step): number => relief / Math.max(cost, least);
  const tensors = new Map<string, Step[]>();
  for (const step of steps) tensors.set(step.tensor, [...(tensors.get(step.tensor) ?? []), step]);
  const rated = [...tensors.values()].flatMap((list) => {
    let limit = Number.POSITIVE_INFINITY;
    return [...list]
      .sort((a, b) => a.cost - b.cost || (a.to === 'int16' ? -1 : 1))
      .map((step) => {
        limit = Math.min(limit, worth(step));
        return { step, worth: limit };
      });
  });
  return rated.sort((a, b) => b.worth - a.worth).map(({ step }) => step);
}

const widthsOf = (steps: readonly Step[]): Widths => new Map(steps.map(({ tensor, to }) => [tensor, to]));

function nearest(seen: ReadonlyMap<number, Evaluation>): number {
  const [best] = [...seen].sort(([, a], [, b]) => a.missed - b.missed || a.cost - b.cost);
  return best![0];
}

/** The steps without those that the goal is reached without. */
async function pruned(
  steps: readonly Step[],
  evaluate: (widths: Widths) => Promise<Evaluation>,
): Promise<Step[]> {
  let kept = [...steps];
  const doubtful = [...steps].reverse().slice(0, PRUNED);
  for (const step of doubtful) {
    // The last step added reached the goal and was needed; a tensor's first cannot go before its second.
    const second = kept.some(
      (other) => other.tensor === step.tensor && other !== step && other.cost > step.cost,
    );
    if (second || step === steps.at(-1)) continue;
    const without = kept.filter((other) => other !== step);
    if ((await evaluate(widthsOf(without))).missed <= 0) kept = without;
  }
  return kept;
}
