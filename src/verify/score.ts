import type { Score } from '../config/verification.js';

/** A figure as text: two digits in percent and dB, four significant ones otherwise. */
export function figureText(value: number, unit: Score['unit']): string {
  if (unit === '%' || unit === 'dB') return value.toFixed(2);
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e6 ? String(Number(value.toPrecision(5))) : value.toExponential(3);
}

/** A standard error as text: as many digits as the figure in percent and dB, two significant ones otherwise. */
export const errorText = (value: number, unit: Score['unit']): string =>
  unit === '%' || unit === 'dB' || value === 0
    ? figureText(value, unit)
    : String(Number(value.toPrecision(2)));

/** Its unit after a figure, with a space where there is one. */
export const unitText = (unit: Score['unit']): string => (unit === '' ? '' : ` ${unit}`);

/**
 * How much worse the quantized model is, in the score's own unit; negative when it is better. Where the float model is the
 * reference, what is missing to 100.
 */
export function lost({ float, quantized, better }: Score): number {
  return better === 'higher' ? (float ?? 100) - quantized : quantized - (float ?? 0);
}

/** The difference is there, and no larger than the choice of samples explains. */
export const withinNoise = ({ float, quantized, interval }: Score): boolean =>
  float !== null && float !== quantized && interval !== null && interval[0] <= 0 && interval[1] >= 0;

/** Scores shown where room is short: the one to judge by, two more, and the agreement. */
export const mainScores = (scores: readonly Score[]): Score[] =>
  scores.filter(({ float }, i) => i < 3 || float === null);

/** A score on one line: both figures and their difference, each with its standard error. */
export function scoreText(score: Score): string {
  const { float, quantized, unit, standardErrors: errors } = score;
  const within = (value: number, error: number | null | undefined): string =>
    `${figureText(value, unit)}${error == null ? '' : ` ± ${errorText(error, unit)}`}`;
  const after = `${within(quantized, errors?.quantized)}${unitText(unit)}`;
  if (float === null) return after;
  const noise = withinNoise(score) ? ', within what the choice of samples explains' : '';
  const difference =
    float === quantized
      ? 'no difference'
      : `difference ${within(quantized - float, errors?.difference)}${noise}`;
  const unknown = errors ? '' : ', standard error not known';
  return `${within(float, errors?.float)} -> ${after}, ${difference}${unknown}`;
}
