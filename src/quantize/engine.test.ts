import { describe, expect, it } from 'vitest';
import { errorOf } from '../../test/helpers/plan.js';
import { EXIT } from '../errors.js';
import { ALGORITHM_NAMES, algorithmsNamed, DOUBTFUL, engineFor, switchedOff, switchedOn } from './engine.js';

describe('engine', () => {
  it('runs everything that the effort has time for', () => {
    const off = Object.entries(engineFor('balanced')).filter(([, runs]) => !runs);
    expect(off.map(([name]) => name)).toEqual(DOUBTFUL);
    expect(engineFor('best')).toEqual(engineFor('balanced'));
    expect(engineFor('fast')).toMatchObject({
      refineRanges: false,
      biasCorrection: false,
      channelScales: true,
    });
  });

  it('leaves out what is named, and says so', () => {
    const engine = engineFor('balanced', algorithmsNamed(['bias-correction', 'concat-ties']));
    expect(engine).toMatchObject({ biasCorrection: false, concatTies: false, refineRanges: true });
    expect(switchedOff(engine, 'balanced')).toEqual(['concat-ties', 'bias-correction']);
    expect(switchedOff(engineFor('fast'), 'fast')).toEqual([]);
  });

  it('runs what is asked for beyond the effort, and says so', () => {
    const engine = engineFor('fast', [], algorithmsNamed(['bias-correction', 'sum-targets']));
    expect(engine).toMatchObject({ biasCorrection: true, sumTargets: true, reconstruction: false });
    expect(switchedOn(engine, 'fast')).toEqual(['bias-correction', 'sum-targets']);
    expect(switchedOff(engine, 'fast')).toEqual([]);
  });

  it('knows every name that it lists', () => {
    expect(algorithmsNamed(ALGORITHM_NAMES)).toHaveLength(ALGORITHM_NAMES.length);
  });

  it('refuses an unknown name with one that comes near', () => {
    const error = errorOf(() => algorithmsNamed(['biascorrection']));
    expect(error).toMatchObject({ code: 'ALGORITHM_UNKNOWN', exitCode: EXIT.usage });
    expect(error.suggestions).toContain('Did you mean bias-correction?');
  });
});
