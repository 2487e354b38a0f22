import { toNumber } from '../config/common.js';
import type { RunResult } from '../config/result.js';
import type { Score } from '../config/verification.js';
import { lost, withinNoise } from '../verify/score.js';
import { bytes, decibels, figure, percent, plural } from './format.js';

export type VerdictLevel = 'good' | 'caution' | 'bad' | 'unknown';

export interface Verdict {
  level: VerdictLevel;
  /** One sentence. */
  sentence: string;
  /** How the level was found, for the reader who doubts it. */
  rule: string;
}

/** Agreement share and SQNR: good from the first on, poor below the second. */
const LIMITS = { agreement: [0.98, 0.95], sqnr: [20, 12] } as const;

/** Loss of a task score: good up to the first, poor above the second; in its unit, or as a share of the float score. */
const LOSS: Record<Score['unit'], { limits: readonly [number, number]; relative: boolean }> = {
  '%': { limits: [1, 3], relative: false },
  dB: { limits: [0.2, 1], relative: false },
  nats: { limits: [0.02, 0.06], relative: true },
  '': { limits: [0.02, 0.06], relative: true },
};

/**
 * Judges a run by the best evidence there is: the task metric, else agreement of the two models' decisions, else the
 * signal-to-noise ratio of the worst output.
 */
export function verdict({ verification, sizes }: RunResult): Verdict {
  const share = sizes.quantized / sizes.float;
  const size = `at ${percent(share, 0)} of the size (${bytes(sizes.quantized)})`;
  if (!verification) {
    return {
      level: 'unknown',
      sentence: `The quantized model was written ${size}; its accuracy was not measured.`,
      rule: 'No samples were left to verify with.',
    };
  }
  const main = verification.task?.scores[0];
  if (main && main.float !== null) return byScore(main, main.float, size);
  if (main) {
    return {
      level: judge(main.quantized / 100, 0.9, 0.75),
      sentence: `The quantized model decides as the float model does in ${figure(main.quantized, main.unit)} (${main.name}) ${size}.`,
      rule: 'Good from 90 % agreement on, poor below 75 %. No labels were given.',
    };
  }
  const decided = verification.outputs.filter(({ agreement }) => agreement);
  const worst = [...decided].sort((a, b) => a.agreement!.share - b.agreement!.share)[0]?.agreement;
  if (worst) {
    return {
      level: judge(worst.share, ...LIMITS.agreement),
      sentence: `The quantized model decides as the float model in ${percent(worst.share)} of ${worst.over} ${size}.`,
      rule: `Good from ${percent(LIMITS.agreement[0], 0)} equal decisions on, poor below ${percent(LIMITS.agreement[1], 0)}. No labels were given.`,
    };
  }
  const sqnr = Math.min(...verification.outputs.map(({ similarity }) => toNumber(similarity.sqnr)));
  return {
    level: judge(sqnr, ...LIMITS.sqnr),
    sentence: `The quantized model's outputs keep ${decibels(sqnr)} of signal over noise ${size}.`,
    rule: `Good from ${LIMITS.sqnr[0]} dB on, poor below ${LIMITS.sqnr[1]} dB. No labels were given.`,
  };
}

function byScore(score: Score, float: number, size: string): Verdict {
  const { name, unit, quantized } = score;
  const { limits, relative } = LOSS[unit];
  const loss = relative && float !== 0 ? lost(score) / Math.abs(float) : lost(score);
  const noise = withinNoise(score) ? ', a difference within what the choice of samples explains,' : '';
  const limit = (value: number): string =>
    relative ? percent(value, 0) : unit === '%' ? plural(value, 'point') : `${value} ${unit}`;
  return {
    level: judge(-loss, -limits[0], -limits[1]),
    sentence: `The quantized model reaches ${figure(quantized, unit)} ${name} against ${figure(float, unit)} in float${noise} ${size}.`,
    rule: `Good up to ${limit(limits[0])} lost in ${name}, poor above ${limit(limits[1])}.`,
  };
}

function judge(value: number, good: number, poor: number): VerdictLevel {
  if (value >= good) return 'good';
  return value >= poor ? 'caution' : 'bad';
}
