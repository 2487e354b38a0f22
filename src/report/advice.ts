import type { RunResult } from '../config/result.js';
import { percent } from './format.js';
import { shellQuote } from './shell.js';
import type { TensorReport } from './types.js';

/** A tensor that loses much, why, and what to try. */
export interface Suspect {
  tensor: TensorReport;
  reason: string;
  /** Flags to add to the command. */
  flag: string;
}

/** Own noise below this share of the signal (40 dB) is not worth a suspicion. */
const SMALLEST_BLAME = 1e-4;

const MOST_SUSPECTS = 5;

/** The tensors that lose most by themselves, worst first. */
export function suspects(tensors: readonly TensorReport[], settings: RunResult['settings']): Suspect[] {
  return byBlame(tensors)
    .filter((tensor) => tensor.measured!.blame >= SMALLEST_BLAME)
    .slice(0, MOST_SUSPECTS)
    .map((tensor) => ({ tensor, ...advice(tensor, settings) }));
}

/** Measured tensors by the noise that arises at them, most first. */
export function byBlame(tensors: readonly TensorReport[]): TensorReport[] {
  return tensors
    .filter((tensor) => tensor.measured !== null)
    .sort((a, b) => b.measured!.blame - a.measured!.blame);
}

/**
 * Why a tensor loses what it loses: what its quantizer clips, what it rounds, or else the weights of its operator.
 * The expected noise of the quantizer comes from the calibration histogram.
 */
export function advice(tensor: TensorReport, settings: RunResult['settings']): Omit<Suspect, 'tensor'> {
  const { seen, measured, producer, name, bits } = tensor;
  const own = measured?.blame ?? 0;
  const rounding = seen?.rounding ?? 0;
  const clipping = seen?.clipping ?? 0;
  if (seen && clipping > rounding && clipping > own / 4) {
    const flag = settings.calibration === 'minmax' ? exclude(name) : '--calibration minmax';
    return { reason: `its clip cuts ${percent(seen.saturated ?? 0)} of the values off`, flag };
  }
  if (producer === null || rounding > own / 2) {
    const wide = settings.calibration === 'minmax' && tensor.rule === 'minmax' && seen;
    return {
      reason: `rounding to ${bits} bits: the step ${step(tensor)} is coarse beside most of its values`,
      flag: wide ? '--calibration auto' : exclude(name),
    };
  }
  return {
    reason: tensor.weighted
      ? `its quantizer explains little of it, so the rounded weights of ${producer} do, or noise that they amplify`
      : `${producer} amplifies the noise of its inputs`,
    flag: exclude(producer),
  };
}

const exclude = (name: string): string => `--exclude ${shellQuote(name)}`;

const step = ({ scale }: TensorReport): string => scale.largest.toPrecision(3);
