import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { quantizeBias, roundHalfEven, weightScales } from './weights.js';

const float = (min: number, max: number) =>
  fc.float({ min: Math.fround(min), max: Math.fround(max), noNaN: true });

describe('weightScales', () => {
  it('maps the largest weight of each channel to 127', () => {
    const scales = weightScales(Float32Array.of(127, 12.7), 8, null, [1]);
    expect([...scales]).toEqual([1, Math.fround(Math.fround(12.7) / 127)]);
  });

  it('gives dead channels a usable scale, also when all are dead', () => {
    const [alive, dead] = weightScales(Float32Array.of(1, 0), 8, null, [1]);
    expect(dead).toBeGreaterThan(1e-30);
    expect(dead).toBeLessThan(alive!);
    expect(weightScales(Float32Array.of(0, 0), 8, null, [1])).toEqual(Float32Array.of(1, 1));
  });

  it('keeps every bias inside int32 whatever weights and inputs are', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(float(0, 100), float(-1e4, 1e4)), { minLength: 1, maxLength: 8 }),
        float(1e-20, 1e3),
        (channels, inputScale) => {
          fc.pre(inputScale > 0);
          const absmax = Float32Array.from(channels, ([a]) => a);
          const bias = Float32Array.from(channels, ([, b]) => b);
          const scales = weightScales(absmax, 8, bias, [inputScale]);
          const { integers, scales: biasScales } = quantizeBias(bias, scales, [inputScale]);
          for (let c = 0; c < bias.length; c++) {
            expect(Math.abs(integers[c]!)).toBeLessThan(2 ** 31 - 1);
            const step = biasScales[c]!;
            expect(step).toBeGreaterThanOrEqual(2 ** -126);
            expect(Math.abs(integers[c]! * step - bias[c]!)).toBeLessThanOrEqual(
              step * 0.51 + Math.abs(bias[c]!) * 1e-6,
            );
          }
        },
      ),
    );
  });

  it('lets one channel of a grouped ConvTranspose serve the biases of all groups', () => {
    const { scales } = quantizeBias(Float32Array.of(1, 2, 3, 4), Float32Array.of(0.5, 0.25), [2]);
    expect([...scales]).toEqual([1, 0.5, 1, 0.5]);
  });
});

describe('roundHalfEven', () => {
  it('rounds ties to the even neighbour and everything else to the nearest', () => {
    const cases = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.4999, -1.2, 7, 2 ** 31 + 0.5];
    expect(cases.map(roundHalfEven).map((x) => x + 0)).toEqual([0, 2, 2, 0, -2, -2, 0, -1, 7, 2 ** 31]);
  });
});
