import { describe, expect, it } from 'vitest';
import type { Target } from '../config/target.js';
import { Graph } from '../graph/graph.js';
import { CostModel } from './cost-model.js';
import { PARAMETERS } from './device.js';
import { loadTarget } from './target-files.js';
import { intervalOf, parameterSpreads, supportOf } from './uncertainty.js';
import { ZOO } from './zoo/index.js';

const generic = loadTarget('generic-npu');
const kirin = loadTarget('kirin9000');
const INT8 = { rest: 'int8' } as const;

const supported = (target: Target, name: string) => {
  const model = new CostModel(target);
  const network = model.lower(new Graph(ZOO[name]!()));
  return { support: supportOf(model, network, INT8), seconds: model.predict(network, INT8).seconds };
};

describe('what a prediction rests on', () => {
  it('is what changes it: its clock for a network that computes, its bandwidth for one that waits for weights', () => {
    const strongest = (name: string): string => supported(generic, name).support[0]!.value;
    expect(['compute.clock', 'compute.matrix.int8.macsPerCycle', 'compute.cores']).toContain(
      strongest('vdsr'),
    );
    expect(strongest('alexnet')).toBe('memory.weights');
    for (const { elasticity, value } of supported(generic, 'mobilenet-v2').support)
      expect(elasticity > 0, value).toBe(value.startsWith('overhead'));
  });

  it('leaves out what measurements have corrected', () => {
    const values = supported(kirin, 'mobilenet-v2').support.map(({ value }) => value);
    expect(
      values.filter((value) => value.startsWith('compute') || value.startsWith('overhead.layer')),
    ).toEqual([]);
  });
});

describe('the interval of a prediction', () => {
  it('holds the prediction, and is narrower where values are better known', () => {
    const { support, seconds } = supported(generic, 'resnet50');
    const [low, high] = intervalOf(generic, 'int8', seconds, support);
    expect(low).toBeLessThan(seconds);
    expect(high / seconds).toBeCloseTo(seconds / low, 9);
    const known = support.map((one) => ({ ...one, status: 'published' as const }));
    expect(intervalOf(generic, 'int8', seconds, known)[1]).toBeLessThan(high);
    expect(
      intervalOf({ ...generic, error: { ...generic.error, value: 0.01 } }, 'int8', seconds, [])[1],
    ).toBeCloseTo(seconds * Math.exp(0.01645), 12);
  });
});

describe('how sure the main parameters are', () => {
  it('is that of the least sure value they are made of, or of their measurement', () => {
    expect(parameterSpreads(generic, 'int8')).toEqual(PARAMETERS.map(() => 0.6));
    expect(parameterSpreads(kirin, 'int8')).toEqual(PARAMETERS.map(() => 0.05));
    const fresh = { ...kirin, calibration: undefined };
    const spreads = parameterSpreads(fresh, 'int8');
    expect(spreads[PARAMETERS.indexOf('matrix')]).toBe(0.25);
    expect(spreads[PARAMETERS.indexOf('layer')]).toBe(0.6);
  });
});
