import type { EngineSettings } from '../config/tuning.js';
import type { Calibration } from '../quantize/algorithms/ranges.js';
import {
  ALGORITHMS,
  type Algorithm,
  algorithmName,
  algorithmsNamed,
  DOUBTFUL,
  engineFor,
  switchedOff,
  switchedOn,
} from '../quantize/engine.js';
import type { QuantizeOptions } from '../quantize/options.js';
import { targetProfile } from '../target/profiles.js';
import type { Change } from './descend.js';

/** What of the engine options say. */
export const settingsOf = ({
  effort,
  calibration,
  weightsGranularity,
  engine,
}: QuantizeOptions): EngineSettings => ({
  effort,
  calibration,
  weightsGranularity,
  without: switchedOff(engine, effort),
  with: switchedOn(engine, effort),
});

/** Options with other settings of the engine, and nothing left to compare. */
export function withSettings(
  { compared: _, ...options }: QuantizeOptions,
  { effort, calibration, weightsGranularity, ...switched }: EngineSettings,
): QuantizeOptions {
  const engine = engineFor(effort, algorithmsNamed(switched.without), algorithmsNamed(switched.with));
  return { ...options, effort, calibration, weightsGranularity, engine };
}

/** Switches one algorithm on or off. */
export const toggled =
  (algorithm: Algorithm): Change<EngineSettings> =>
  (settings) => {
    const name = algorithmName(algorithm);
    const list = engineFor(settings.effort)[algorithm] ? 'without' : 'with';
    const names = settings[list];
    const next = names.includes(name) ? names.filter((one) => one !== name) : [...names, name].sort();
    return { ...settings, [list]: next };
  };

const CALIBRATIONS: readonly Calibration[] = ['mse', 'minmax', 'percentile', 'entropy', 'auto'];

/** Refinement has its parts switched on one by one; without it only ranges are left to choose. */
const fast: Change<EngineSettings> = (settings) =>
  settings.effort === 'fast' ? null : { ...settings, effort: 'fast', without: [], with: [] };

const otherGranularity: Change<EngineSettings> = (settings) => ({
  ...settings,
  weightsGranularity: settings.weightsGranularity === 'channel' ? 'tensor' : 'channel',
});

/**
 * Everything of the engine that can be set otherwise for options, what is most likely to help first. Granularity only
 * where the target leaves a choice.
 */
export function changesFor({ target }: QuantizeOptions): Change<EngineSettings>[] {
  const { perChannelConv, perChannelLinear } = targetProfile(target);
  const usual = (Object.keys(ALGORITHMS) as Algorithm[]).filter((name) => !DOUBTFUL.includes(name));
  return [
    ...DOUBTFUL.map(toggled),
    ...CALIBRATIONS.map(
      (calibration): Change<EngineSettings> =>
        (settings) => ({ ...settings, calibration }),
    ),
    ...usual.map(toggled),
    fast,
    ...(perChannelConv || perChannelLinear ? [otherGranularity] : []),
  ];
}
