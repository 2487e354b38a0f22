import type { Remedy } from '../config/analysis.js';
import type { ActivationPlan, QuantizerFormat } from '../config/plan.js';
import type { RunResult } from '../config/result.js';
import type { NativeCore } from '../native/index.js';
import { type CalibrationMethod, methodRange, wideRange } from '../quantize/algorithms/ranges.js';
import { INT16 } from '../quantize/plan/precision.js';
import type { Observed } from '../quantize/solution.js';
import { shellQuote } from '../report/shell.js';
import type { Moments } from './algorithms/moments.js';
import { type Grid, gridOf } from './probes.js';

/** Something to try in the place of an activation's quantizer, and what it would be called. */
export interface Trial extends Omit<Remedy, 'removes'> {
  grid: Grid;
}

/** What is known of an activation whose remedies are looked for. */
export interface Patient {
  plan: ActivationPlan;
  /** What the run gave it. */
  format: QuantizerFormat;
  perChannel: boolean;
  observed: Observed | undefined;
  /** By channel along `axis`. */
  channels: readonly Moments[];
  axis: number;
}

const METHODS: readonly CalibrationMethod[] = ['minmax', 'percentile', 'entropy', 'mse'];

/** What could help one activation, as grids to measure. Only what the target can compute with. */
export function activationTrials(
  core: NativeCore,
  patient: Patient,
  settings: RunResult['settings'],
  int16: boolean,
): Trial[] {
  const { plan, format, observed, perChannel, channels, axis } = patient;
  const name = shellQuote(plan.tensor);
  const trials: Trial[] = [
    {
      operation: 'float',
      flag: `--exclude ${name}`,
      note: 'its readers compute in float',
      grid: null,
    },
  ];
  if (format.bits === 8 && int16 && observed) {
    const { low, high } = wideRange(core, observed.histogram, INT16);
    trials.push({
      operation: 'int16',
      flag: `--int16 ${name}`,
      note: '16 bits for this tensor',
      grid: gridOf(INT16, [core.quantParams(low, high, INT16)], null),
    });
  }
  if (format.bits === 8 && observed && plan.range.kind === 'observed') {
    for (const method of METHODS) {
      const { low, high } = methodRange(core, observed.histogram, format, method);
      trials.push({
        operation: 'calibration',
        flag: `--calibration ${method}`,
        note: `range by ${method}; the flag is for all tensors`,
        grid: gridOf(format, [core.quantParams(low, high, format)], null),
      });
    }
  }
  if (format.bits === 8 && !perChannel && channels.length > 1 && plan.producer !== null) {
    const parameters = channels.map(({ low, high }) =>
      core.quantParams(Math.min(0, low), Math.max(0, high), format),
    );
    trials.push({ ...channelRemedy(plan, settings), grid: gridOf(format, parameters, axis) });
  }
  return trials;
}

/** A scale a channel exists where depthwise convolutions read; elsewhere channels can only be made alike. */
function channelRemedy(
  { channelAxis }: ActivationPlan,
  settings: RunResult['settings'],
): Omit<Trial, 'grid'> {
  const off = settings.without.includes('channel-scales');
  if (channelAxis !== null) {
    return {
      operation: 'scale a channel',
      flag: off ? 'leave out --without channel-scales' : null,
      note: off ? 'switched off in this run' : 'a scale a channel, which the engine found not worth it',
    };
  }
  return {
    operation: 'equalization',
    flag: null,
    note: 'channels of like reach: scales moved into the layers around it',
  };
}

/** Leaving a layer in float, which takes all noise of its weight away. */
export const floatLayer = (node: string): Omit<Remedy, 'removes'> => ({
  operation: 'float',
  flag: `--exclude ${shellQuote(node)}`,
  note: 'the layer computes in float',
});

/** A scale an output channel for a weight that has one for all. */
export const channelwiseRemedy = ({
  weightsGranularity,
}: RunResult['settings']): Omit<Remedy, 'removes'> => ({
  operation: 'scale a channel',
  flag: weightsGranularity === 'tensor' ? 'leave out --weights-granularity tensor' : null,
  note: 'a scale an output channel, on targets that have it',
});

/** What removes this much of a quantizer's noise cures it; then the cheapest for the device is the best. */
const CURES = 0.9;

/** A remedy that leaves more of the noise than this is none. */
const WORTH_TELLING = 0.05;

/** By what they cost on the device, least first. */
const BY_COST: readonly Remedy['operation'][] = [
  'calibration',
  'equalization',
  'scale a channel',
  'int16',
  'float',
];

/**
 * Remedies with what was measured: cures that a flag brings about first, the cheapest of them leading, then other cures,
 * then the rest by what they remove.
 */
export function ranked(
  tried: readonly (Omit<Remedy, 'removes'> & { noise: number })[],
  own: number,
): Remedy[] {
  const cost = ({ operation, flag }: Remedy): number =>
    BY_COST.indexOf(operation) + (flag === null ? BY_COST.length : 0);
  const removed = tried
    .map(({ noise, operation, flag, note }) => ({
      operation,
      flag,
      note,
      removes: own > 0 ? Number((1 - noise / own).toPrecision(6)) : 0,
    }))
    .filter(({ removes }) => removes > WORTH_TELLING);
  const cures = removed.filter(({ removes }) => removes >= CURES);
  const others = removed.filter(({ removes }) => removes < CURES);
  return [
    ...cures.sort((a, b) => cost(a) - cost(b) || b.removes - a.removes),
    ...others.sort((a, b) => b.removes - a.removes || cost(a) - cost(b)),
  ];
}
