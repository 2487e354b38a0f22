import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { errorOf } from '../../test/helpers/plan.js';
import type { Target } from '../config/target.js';
import { Graph } from '../graph/graph.js';
import { CostModel } from './cost-model.js';
import type { LoweredNetwork } from './lower.js';
import { PRECISION_NAMES, type Precision } from './precision.js';
import { loadTarget, targetNames } from './target-files.js';
import { NetworkBuilder } from './zoo/builder.js';
import { ZOO } from './zoo/index.js';

const targets = targetNames().map(loadTarget);
const kirin = targets.find(({ name }) => name === 'kirin9000')!;
const precisions = ({ compute }: Target): Precision[] =>
  PRECISION_NAMES.filter((name) => name in compute.matrix);

const network = (
  model: CostModel,
  build: (net: NetworkBuilder) => Parameters<NetworkBuilder['finish']>,
  input = [1, 16, 16, 16],
): LoweredNetwork => {
  const net = new NetworkBuilder('n', input);
  return model.lower(new Graph(net.finish(...build(net))));
};

const layer = fc.record({
  // With a single channel a depthwise convolution is an ordinary one.
  channels: fc.integer({ min: 2, max: 200 }),
  width: fc.integer({ min: 1, max: 96 }),
  size: fc.integer({ min: 1, max: 40 }),
  kernel: fc.constantFrom(1, 3, 5),
  groups: fc.constantFrom('one', 'each'),
});
type Layer = typeof layer extends fc.Arbitrary<infer T> ? T : never;

const convolution = (model: CostModel, { channels, width, size, kernel, groups }: Layer): LoweredNetwork =>
  network(
    model,
    (net) => [groups === 'each' ? net.depthwise(net.input, kernel) : net.conv(net.input, width, kernel)],
    [1, channels, size, size],
  );

describe('the cost of a network', () => {
  it('is the sum of its kernels and its start, and memory holds every step', () => {
    for (const target of targets) {
      const model = new CostModel(target);
      for (const name of ['mobilenet-v3-large', 'googlenet', 'yolov5s']) {
        const lowered = model.lower(new Graph(ZOO[name]!()));
        for (const precision of precisions(target)) {
          const cost = model.cost(lowered, { rest: precision });
          const predicted = model.predict(lowered, { rest: precision });
          const sum = cost.kernels.reduce((total, { seconds }) => total + seconds, cost.run);
          expect(sum / cost.seconds).toBeCloseTo(1, 12);
          expect(predicted.seconds / cost.seconds).toBeCloseTo(1, 12);
          expect(predicted.energy / cost.energy).toBeCloseTo(1, 12);
          for (const { seconds, overhead, pipes } of cost.kernels)
            expect(seconds).toBeGreaterThanOrEqual(
              Math.max(pipes.matrix, pipes.vector, pipes.external) + overhead - 1e-12,
            );
        }
      }
    }
  });

  it('never falls when a layer has more channels of either kind, larger maps or weights', () => {
    fc.assert(
      fc.property(
        layer,
        fc.constantFrom(...targets),
        fc.constantFrom('channels', 'width'),
        (small, target, key) => {
          const model = new CostModel(target);
          for (const precision of precisions(target)) {
            const [less, more] = [small, { ...small, [key]: small[key] + 1 }].map(
              (one) => model.cost(convolution(model, one as Layer), { rest: precision }).seconds,
            );
            expect(more! / less!).toBeGreaterThanOrEqual(1 - 1e-9);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('costs the matrix unit the same for all channels of one step', () => {
    const model = new CostModel(kirin);
    const busy = (channels: number, precision: Precision): number =>
      model.cost(convolution(model, { channels, width: 16, size: 8, kernel: 3, groups: 'one' }), {
        rest: precision,
      }).kernels[0]!.pipes.matrix;
    expect(busy(17, 'fp16')).toBe(busy(32, 'fp16'));
    expect(busy(33, 'fp16')).toBeCloseTo(1.5 * busy(32, 'fp16'), 15);
    expect(busy(1, 'int8')).toBe(busy(32, 'int8'));
  });

  it('counts the longer of moving and computing where they overlap, their sum where they do not', () => {
    const deep: Layer = { channels: 64, width: 64, size: 40, kernel: 3, groups: 'one' };
    const busy = (value: number | null): { seconds: number; computing: number; moving: number } => {
      const target = structuredClone(kirin);
      target.compute.overlap = value === null ? undefined : { value, status: 'assumed', source: 'guess' };
      const model = new CostModel(target);
      const { seconds, overhead, pipes } = model.cost(convolution(model, deep), { rest: 'fp16' }).kernels[0]!;
      const computing = Math.max(pipes.matrix, pipes.vector);
      return { seconds: seconds - overhead, computing, moving: pipes.external + pipes.onChip };
    };
    const { computing, moving, seconds } = busy(1);
    expect(seconds).toBeCloseTo(Math.max(computing, moving), 12);
    expect(busy(null).seconds).toBe(seconds);
    expect(busy(0).seconds).toBeCloseTo(computing + moving, 12);
    expect(busy(0.5).seconds).toBeCloseTo((seconds + computing + moving) / 2, 12);
  });

  it('passes the vector unit over whole blocks of channels', () => {
    const model = new CostModel(kirin);
    const busy = (channels: number): number => {
      const lowered = network(model, (net) => [net.resize(net.input, 64, 64)], [1, channels, 32, 32]);
      return model.cost(lowered, { rest: 'fp16' }).kernels[0]!.pipes.vector;
    };
    expect(busy(21)).toBe(busy(32));
    expect(busy(33)).toBeCloseTo(1.5 * busy(32), 15);
  });

  it('never rises with bandwidth, clock or lanes, nor falls with overhead', () => {
    const change = (target: Target, path: string, factor: number): Target => {
      const copy = structuredClone(target);
      const keys = path.split('.');
      const figure = keys.reduce((at, key) => (at as Record<string, unknown>)[key], copy as unknown) as {
        value: number;
      };
      figure.value *= factor;
      return copy;
    };
    const faster = [
      'memory.weights',
      'memory.activations',
      'memory.onChip.bandwidth',
      'memory.onChip.bytes',
      'compute.clock',
      'compute.vectorBytes',
      'host.bandwidth',
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...targets),
        fc.constantFrom(...faster),
        fc.double({ min: 1, max: 8, noNaN: true }),
        fc.constantFrom('mobilenet-v2', 'vdsr', 'squeezenet'),
        (target, path, factor, name) => {
          const [slow, fast] = [target, change(target, path, factor)].map((one) => {
            const model = new CostModel(one);
            return model.predict(model.lower(new Graph(ZOO[name]!())), { rest: precisions(one)[0]! }).seconds;
          });
          expect(fast! / slow!).toBeLessThanOrEqual(1 + 1e-9);
        },
      ),
      { numRuns: 60 },
    );
    const model = (factor: number): number => {
      const changed = new CostModel(change(kirin, 'overhead.operator', factor));
      return changed.predict(changed.lower(new Graph(ZOO.resnet18!())), { rest: 'fp16' }).seconds;
    };
    expect(model(2)).toBeGreaterThan(model(1));
  });

  it('takes layers at their own precisions, by the name of any of their nodes', () => {
    const model = new CostModel(kirin);
    const lowered = network(
      model,
      (net) => [net.conv(net.conv(net.input, 256, 3), 256, 3)],
      [1, 256, 32, 32],
    );
    const seconds = (...names: string[]): number =>
      model.predict(lowered, { rest: 'fp16', layers: new Map(names.map((name) => [name, 'int8'])) }).seconds;
    expect(seconds('conv_1')).toBeLessThan(seconds());
    expect(seconds('relu_1')).toBe(seconds('conv_1'));
    expect(seconds('conv_1', 'conv_2')).toBeLessThan(seconds('conv_1'));
    const { kernels } = model.cost(lowered, { rest: 'fp16', layers: new Map([['conv_2', 'int8']]) });
    expect(kernels.map(({ precision }) => precision)).toEqual(['fp16', 'int8']);
    // What the second layer reads is written in eight bits.
    const all = model.cost(lowered, { rest: 'fp16' }).kernels[0]!.traffic;
    expect(kernels[0]!.traffic.onChip).toBeLessThan(all.onChip);
  });

  it('computes in float what has no integer form', () => {
    const model = new CostModel(kirin);
    const lowered = network(model, (net) => [net.maxPool(net.conv(net.input, 32, 3), 2, { stride: 2 })]);
    const { kernels } = model.cost(lowered, { rest: 'int8' });
    expect(kernels.map(({ precision }) => precision)).toEqual(['int8', 'fp16']);
    expect(kernels.map(({ kernel }) => model.takesIntegers(kernel))).toEqual([true, false]);
  });

  it('refuses a precision that the device does not compute in', () => {
    const model = new CostModel(kirin);
    const lowered = network(model, (net) => [net.conv(net.input, 16, 1)]);
    const error = errorOf(() => model.predict(lowered, { rest: 'int4' }));
    expect(error.code).toBe('TARGET_PRECISION');
    expect(error.expected).toBe('one of fp16, int8');
    const float = {
      ...kirin,
      compute: { ...kirin.compute, matrix: { fp16: kirin.compute.matrix.fp16 } },
    } as Target;
    expect(errorOf(() => new CostModel(float).predict(lowered, { rest: 'int8' })).found).toBe('int8');
  });

  it('counts copies to the host and back', () => {
    const model = new CostModel({
      ...kirin,
      operators: { ...kirin.operators, host: { ...kirin.operators.host, value: ['Resize'] } },
    });
    const lowered = network(model, (net) => [net.resize(net.conv(net.input, 16, 1), 32, 32)]);
    const [, resize] = model.cost(lowered, { rest: 'fp16' }).kernels;
    expect(resize).toMatchObject({ bound: 'host' });
    expect(resize!.seconds).toBeGreaterThan(2 * kirin.overhead.host.value);
  });
});

describe('the memory plan', () => {
  it('gives tensors that are alive together places apart, in an arena that holds every step', () => {
    const names = ['alexnet', 'googlenet', 'mobilenet-v3-large', 'yolov5s', 'ssd-mobilenet-v2', 'deeplab-v3'];
    fc.assert(
      fc.property(fc.constantFrom(...names), fc.constantFrom(...targets), (name, target) => {
        const model = new CostModel(target);
        const { memory } = model.cost(model.lower(new Graph(ZOO[name]!())), {
          rest: precisions(target).at(-1)!,
        });
        const { blocks, arena, peak } = memory;
        for (const [index, a] of blocks.entries())
          for (const b of blocks.slice(0, index)) {
            const together = a.from <= b.to && b.from <= a.to;
            const apart = a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset;
            expect(!together || apart || a.bytes === 0 || b.bytes === 0).toBe(true);
          }
        for (let step = 0; step <= Math.max(...blocks.map(({ to }) => to)); step++) {
          const alive = blocks.filter(({ from, to }) => from <= step && step <= to);
          expect(alive.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(peak.bytes);
        }
        expect(peak.alive.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(peak.bytes);
        expect(arena).toBeGreaterThanOrEqual(peak.bytes);
        expect(arena).toBeLessThanOrEqual(2 * peak.bytes);
      }),
      { numRuns: 40 },
    );
  });

  it('keeps joined maps in one place, and a shortcut until its sum', () => {
    const model = new CostModel(kirin);
    const lowered = network(model, (net) => {
      const a = net.conv(net.input, 16, 3);
      const b = net.conv(net.conv(a, 64, 1), 16, 1, { activation: null });
      return [net.conv(net.concat([net.sum(b, a), net.maxPool(a, 3)]), 16, 1)];
    });
    const { memory } = model.cost(lowered, { rest: 'fp16' });
    const map = 16 * 16 * 16 * 2;
    // The wide map inside the block, the shortcut past it, and the joined map that the sum is written into.
    expect(memory.peak).toMatchObject({ kernel: 'conv_3', bytes: (4 + 1 + 2) * map });
    expect(memory.blocks.find(({ tensors }) => tensors.includes('concat_1.out'))?.tensors).toHaveLength(3);
  });
});
