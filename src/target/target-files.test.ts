import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorOf } from '../../test/helpers/plan.js';
import { targetProfile, targetsWithInt16 } from './profiles.js';
import { findTarget, loadTarget, targetNames } from './target-files.js';

describe('targets that come with dopt', () => {
  it('are called like their files, and are those that the documentation names', () => {
    for (const name of targetNames()) expect(loadTarget(name).name).toBe(name);
    expect(targetNames()).toEqual([
      ...['ascend310', 'ascend310b', 'ethos-u55-128', 'ethos-u65-256', 'generic-cpu', 'generic-npu'],
      ...['hexagon-generic', 'kirin9000', 'kirin9020', 'kirin9030', 'kirin990-5g', 'kirinx90'],
    ]);
  });

  it('name no source that is not used', () => {
    for (const name of targetNames()) {
      const { sources, ...rest } = loadTarget(name);
      const used = new Set(JSON.stringify(rest).match(/"source":"([^"]+)"/g));
      for (const source of Object.keys(sources)) expect(used, name).toContain(`"source":"${source}"`);
    }
  });

  it('quantize what their devices have integer forms of', () => {
    expect(targetProfile('kirin9020')).toMatchObject({
      storage: 'float16',
      perChannelLinear: true,
      int16Activations: true,
    });
    expect(targetProfile('kirin9000')).toMatchObject({
      storage: 'float16',
      perChannelLinear: false,
      int16Activations: false,
    });
    expect(targetProfile('generic-npu')).toMatchObject({
      storage: 'integer',
      perChannelLinear: true,
      int16Activations: true,
    });
    // The graph interface of Kirin has no integer form of a transposed convolution.
    for (const kirin of targetNames().filter((name) => name.startsWith('kirin')))
      expect([...targetProfile(kirin).integerKinds]).toEqual(['conv', 'gemm', 'matmul']);
    expect([...targetProfile('generic-npu').integerKinds]).toEqual([
      ...['conv', 'convtranspose', 'gemm', 'matmul'],
      ...['add', 'sub', 'mul', 'pool', 'concat', 'resample'],
    ]);
    expect(targetsWithInt16()).toContain('kirin9020');
  });
});

describe('a target that cannot be had', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'dopt-target-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const written = (change: (text: string) => string): string => {
    const path = join(folder, 'mine.yaml');
    writeFileSync(path, change(readFileSync(findTarget('generic-npu'), 'utf8')));
    return path;
  };
  const place = (text: string, path: string): number =>
    readFileSync(path, 'utf8')
      .split('\n')
      .findIndex((line) => line.includes(text)) + 1;

  it('is refused by name, with the one that was meant', () => {
    const error = errorOf(() => loadTarget('kirin902'));
    expect(error.code).toBe('TARGET_UNKNOWN');
    expect(error.exitCode).toBe(2);
    expect(error.suggestions).toEqual(['Did you mean kirin9020?']);
  });

  it('is refused as a file that is not there', () => {
    expect(errorOf(() => loadTarget(join(folder, 'none.yaml'))).message).toContain('does not exist');
  });

  it.for<[string, (text: string) => string, string, RegExp]>([
    [
      'a value without a status',
      (text) => text.replace(/clock: .*/, 'clock: 1e9'),
      'clock:',
      /wrong value for compute.clock/,
    ],
    [
      'a status of its own',
      (text) => text.replace(/(cores: .*status: )assumed/, '$1guessed'),
      'cores:',
      /compute.cores.status/,
    ],
    [
      'a source that is not listed',
      (text) => text.replace(/(vectorBytes: .*source: )guess/, '$1rumour'),
      'vectorBytes:',
      /vectorBytes.source/,
    ],
    [
      'a rate of nothing',
      (text) => text.replace(/(weights: \{ value: )[^,]*/, '$10'),
      'weights:',
      /memory.weights.value/,
    ],
    [
      'a setting that does not exist',
      (text) => text.replace('overhead:', 'overhead:\n  warmup: 1'),
      'warmup',
      /unknown setting in overhead/,
    ],
    [
      'a part that is missing',
      (text) => text.replace(/ {2}onChip:\n.*\n.*\n/, ''),
      'memory:',
      /lacks the setting memory.onChip/,
    ],
    [
      'a line that is no YAML',
      (text) => text.replace('compute:', 'compute: ['),
      'compute: [',
      /not valid YAML/,
    ],
  ])('is refused with %s, at its place', ([, change, text, message]) => {
    const path = written(change);
    const error = errorOf(() => loadTarget(path));
    expect(error.code).toBe('TARGET_INVALID');
    expect(error.message).toMatch(message);
    const line = Number(error.place?.split(':').at(-2));
    expect(Math.abs(line - place(text, path))).toBeLessThanOrEqual(2);
  });
});
