import { toNumber } from '../config/common.js';
import type { Goal, PrecisionSearch, PrecisionTry } from '../config/precision.js';
import type { Verification } from '../config/verification.js';
import { UserError } from '../errors.js';
import { lost } from '../verify/score.js';
import { jsonNumber } from '../verify/similarity.js';

/** What a model does for a goal. */
export type Reached = Pick<PrecisionTry, 'sqnr' | 'drop'>;

/** The worst output's signal over noise, and what the metric, or else the agreement of decisions, has lost. */
export function measured({ outputs, task }: Verification) {
  const sqnr = jsonNumber(Math.min(...outputs.map(({ similarity }) => toNumber(similarity.sqnr))));
  const main = task?.scores[0];
  if (main) return { sqnr, drop: lost(main), metric: main.name };
  const shares = outputs.flatMap(({ agreement }) => (agreement ? [agreement.share] : []));
  if (shares.length === 0) return { sqnr, drop: null, metric: null };
  return { sqnr, drop: 100 * (1 - Math.min(...shares)), metric: 'same decision' };
}

/** How far a goal was missed, in its unit; 0 or below where it was reached. */
export function missedBy(goal: Goal, { sqnr, drop }: Reached): number {
  if (goal.kind === 'sqnr') return goal.value - toNumber(sqnr);
  return drop === null ? Number.POSITIVE_INFINITY : drop - goal.value;
}

/**
 * Says so where the goal was reached on the samples that decided, but is missed on those that score: the first are few,
 * and the best of many tries is also the luckiest. Null where both agree.
 */
export function missedWhenScored(search: PrecisionSearch, verification: Verification): string | null {
  const scored = measured(verification);
  if (!search.reached || missedBy(search.goal, scored) <= 0) return null;
  const { goal, metric, samples } = search;
  const judged = `on the ${samples} samples that decided`;
  const advice = 'Ask for a little more, or calibrate with more samples.';
  if (goal.kind === 'sqnr')
    return `${goal.value} dB were reached ${judged}, but the samples that score show ${toNumber(scored.sqnr).toFixed(1)} dB. ${advice}`;
  if (scored.drop === null) return null;
  return `At most ${goal.value} lost in ${metric ?? scored.metric} was reached ${judged}, but the samples that score show ${scored.drop.toFixed(2)} lost in ${scored.metric}. ${advice}`;
}

/** @throws UserError GOAL_MISSED (exit code 7) when a search did not reach its goal */
export function requireGoal(search: PrecisionSearch | null, exitCode: 7): void {
  if (!search || search.reached) return;
  const { goal, tries, chosen, metric } = search;
  const best = tries[chosen]!;
  const sqnr = goal.kind === 'sqnr';
  throw new UserError(
    'GOAL_MISSED',
    'No choice of wider tensors reaches the goal; the model that came nearest was written.',
    {
      exitCode,
      expected: sqnr
        ? `SQNR of at least ${goal.value} dB`
        : `at most ${goal.value} lost in ${metric ?? 'the metric'}`,
      found: sqnr ? `${toNumber(best.sqnr).toFixed(2)} dB` : (best.drop?.toFixed(2) ?? 'nothing measured'),
      suggestions: ['Ask for less, or see where the noise arises: dopt analyze RUN'],
    },
  );
}
