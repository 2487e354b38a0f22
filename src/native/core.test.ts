import { existsSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT, ExternalError } from '../errors.js';
import { candidates, load } from './index.js';

const library = candidates(process.env)[0]!;
const u8 = { bits: 8, signed: false, symmetric: false };

const backends = [
  ['TypeScript', () => load([], () => {})],
  ...(existsSync(library) ? [['native', () => load([library], () => {})] as const] : []),
] as const;

// Known answers, whichever backend computes them.
describe.each(backends)('%s core', (_, make) => {
  const core = make();

  it('counts what it sees', () => {
    const h = core.histogram(8);
    core.histogramUpdate(h, Float32Array.of(0, -0, 1, 2.5, -3, Number.NaN, Number.POSITIVE_INFINITY));
    expect(h).toMatchObject({ count: 5, zeros: 2, nans: 1, infinities: 1, min: -3, max: 2.5 });
    expect(h).toMatchObject({ width: 1, base: -3, sum: 0.5, sumSquares: 16.25 });
    expect([...h.counts]).toEqual([1n, 0n, 0n, 0n, 1n, 1n, 0n, 0n]);
  });

  it('clips a tail that costs more to keep', () => {
    const x = Float32Array.from({ length: 20000 }, (_, i) => Math.sin(i) ** 3);
    x[0] = 8;
    const h = core.histogram(2048);
    core.histogramUpdate(h, x);
    const { low, high, error } = core.rangeMse(h, { bits: 4, signed: false, symmetric: false });
    expect(low).toBeLessThan(-0.8);
    expect(high).toBeLessThan(4);
    const whole = core.rangeError(h, h.min, h.max, { bits: 4, signed: false, symmetric: false });
    expect(error).toBeLessThan(whole / 2);
    // The estimate is what quantizing the values themselves costs.
    const params = core.quantParams(low, high, { bits: 4, signed: false, symmetric: false });
    const { noise } = core.errorSums(x, core.fakeQuantize(x, params, { qmin: 0, qmax: 15 }));
    expect(noise / x.length / error).toBeCloseTo(1, 1);
  });

  it('computes scale and zero point with zero exact', () => {
    expect(core.quantParams(-1, 3, u8)).toEqual({ scale: Math.fround(4 / 255), zeroPoint: 64 });
    expect(core.quantParams(2, 3, u8)).toEqual({ scale: Math.fround(3 / 255), zeroPoint: 0 });
    expect(core.quantParams(0, 0, u8)).toEqual({ scale: 1, zeroPoint: 0 });
  });

  it('rounds half to even and saturates', () => {
    const x = Float32Array.of(0.5, 1.5, -2.5, 300, Number.NaN, Number.NEGATIVE_INFINITY);
    expect([...core.quantize(x, { scale: 1, zeroPoint: 1 }, 'i8')]).toEqual([1, 3, -1, 127, 1, -128]);
  });

  it('refuses what it cannot compute with', () => {
    const h = core.histogram(8);
    for (const call of [
      () => core.histogram(7),
      () => core.quantParams(1, 0, u8),
      () => core.quantParams(0, Number.NaN, u8),
      () => core.quantParams(0, 1, { bits: 17, signed: false, symmetric: false }),
      () => core.quantParams(0, 1, { bits: 8, signed: false, symmetric: true }),
      () => core.rangePercentile(h, 0),
      () => core.rangeMse({ ...h, counts: new BigUint64Array(7) }, u8),
      () => core.rangeMse({ ...h, count: 3, max: 5 }, u8),
      () => core.quantize(new Float32Array(1), { scale: 0, zeroPoint: 0 }, 'u8'),
      () => core.quantize(new Float32Array(1), { scale: 1, zeroPoint: 256 }, 'u8'),
      () => core.channelAbsmax(new Float32Array(5), { outer: 1, channels: 2, inner: 3 }),
      () => core.errorSums(new Float32Array(5), new Float32Array(4)),
      () => core.packInt4(Int8Array.of(8)),
      () => core.setThreads(-1),
    ]) {
      expect(call).toThrowError(ExternalError);
      expect(call).toThrowError(expect.objectContaining({ code: 'NATIVE_FAILED', exitCode: EXIT.native }));
    }
  });
});

describe('loading', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dopt-native-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('warns once and says why each file was refused', () => {
    const broken = join(folder, 'broken.so');
    writeFileSync(broken, 'not a library');
    const warnings: string[] = [];
    const core = load([broken, join(folder, 'missing.so')], (text) => warnings.push(text));
    expect(core.backend).toBe('typescript');
    expect(warnings).toHaveLength(1);
    for (const text of [core.detail, warnings[0]]) {
      expect(text).toContain('broken.so');
      expect(text).toContain('missing.so');
    }
  });

  it('looks at DOPT_NATIVE_LIB alone where it is set', () => {
    expect(candidates({ DOPT_NATIVE_LIB: '/elsewhere/libdopt.so' })).toEqual(['/elsewhere/libdopt.so']);
    expect(candidates({})[0]).toMatch(/native.build.lib.libdopt\.(so|dylib)$/);
  });
});
