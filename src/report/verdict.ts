import { toNumber } from '../config/common.js';
import type { RunResult } from '../config/result.js';
import { bytes, decibels, percent, points } from './format.js';

export type VerdictLevel = 'good' | 'caution' | 'bad' | 'unknown';

export interface Verdict {
  level: VerdictLevel;
  /** One sentence. */
  sentence: string;
  /** How the level was found, for the reader who doubts it. */
  rule: string;
}

/** Loss in points of the task metric, agreement share and SQNR: good up to the first, caution up to the second. */
const LIMITS = { points: [1, 3], agreement: [0.98, 0.95], sqnr: [20, 12] } as const;

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
  if (main && main.float !== null) {
    const loss = main.float - main.quantized;
    const noise = main.interval && main.interval[0] <= 0 && main.interval[1] >= 0;
    const change = `${points(main.quantized)} % ${main.name} against ${points(main.float)} % in float`;
    return {
      level: judge(-loss, -LIMITS.points[0], -LIMITS.points[1]),
      sentence: `The quantized model reaches ${change}${
        noise && loss !== 0 ? ', a difference within what the choice of samples explains,' : ''
      } ${size}.`,
      rule: `Good up to ${LIMITS.points[0]} point lost in ${main.name}, poor above ${LIMITS.points[1]} points.`,
    };
  }
  if (main) {
    return {
      level: judge(main.quantized / 100, 0.9, 0.75),
      sentence: `The quantized model finds the float model's objects with ${points(main.quantized)} % ${main.name} ${size}.`,
      rule: 'Good from 90 % agreement of boxes on, poor below 75 %. No labels were given.',
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

function judge(value: number, good: number, poor: number): VerdictLevel {
  if (value >= good) return 'good';
  return value >= poor ? 'caution' : 'bad';
}
