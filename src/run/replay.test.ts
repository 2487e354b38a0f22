import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Manifest } from '../config/manifest.js';
import { writeSafetensors } from '../graph/safetensors.js';
import { differenceOf } from './difference.js';
import { replayCommand } from './replay.js';

describe('replayCommand', () => {
  it('changes --out and --env in both spellings, drops --resume and --json, and keeps what stands behind --', () => {
    const given = [
      'dopt',
      'quantize',
      'net.onnx',
      '--out=a',
      '--resume',
      '--env',
      'venv',
      '--json',
      '--',
      '--out',
      'x',
    ];
    expect(replayCommand(given, '/b', 'docker')).toEqual([
      'dopt',
      'quantize',
      'net.onnx',
      '--out',
      '/b',
      '--env',
      'docker',
      '--',
      '--out',
      'x',
    ]);
    expect(replayCommand(['dopt', 'quantize', '--out', 'a', '--env', 'venv'], '/b', null)).toEqual([
      'dopt',
      'quantize',
      '--env',
      'venv',
      '--out',
      '/b',
    ]);
  });

  it('knows nothing to do without an --out', () => {
    expect(replayCommand(['dopt', 'compat', 'notrain', '--output', 'a'], '/b', null)).toBeNull();
  });
});

describe('differenceOf', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'dopt-replay-'));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  /** A run with two stages; the second has weights. */
  function run(name: string, weight: number, sha256: string): { folder: string; manifest: Manifest } {
    const folder = join(root, name);
    for (const stage of ['plan', 'apply']) mkdirSync(join(folder, 'stages', stage), { recursive: true });
    writeFileSync(join(folder, 'stages/plan/plan.json'), '{"layers":[1]}');
    writeFileSync(join(folder, 'stages/apply/x.json'), JSON.stringify({ a: [{ b: weight }] }));
    const tensor = (value: number) => ({ data: Float32Array.of(value), shape: [1] });
    writeSafetensors(
      join(folder, 'stages/apply/w.safetensors'),
      new Map([
        ['same', tensor(1)],
        ['fc.weight', tensor(weight)],
      ]),
    );
    const done = (stage: string) => `{"time":"t","type":"stage-done","stage":"${stage}","seconds":1}\n`;
    writeFileSync(join(folder, 'events.ndjson'), done('plan') + done('apply'));
    const file = (path: string) => ({ path, bytes: 1, sha256: path === 'report.html' ? name : sha256 });
    return {
      folder,
      manifest: {
        version: 1,
        dopt: '1',
        state: 'finished',
        command: [],
        started: '',
        finished: '',
        details: { versions: { onnx: String(weight) }, data: { calibration: { sha256: `data ${weight}` } } },
        files: { 'm.onnx': file('m.onnx'), 'report.html': file('report.html') },
      },
    };
  }

  it('is nothing for the same digests, whatever the report is', async () => {
    expect(await differenceOf(run('a', 1, 'x'), run('b', 1, 'x'))).toEqual({
      equal: true,
      files: [{ name: 'm.onnx', first: 'x', second: 'x', equal: true }],
      inputs: [],
      versions: [],
      stage: null,
    });
  });

  it('names the file, the first stage, its tensors and values, inputs and versions', async () => {
    const difference = await differenceOf(run('a', 1, 'x'), run('b', 2, 'y'));
    expect(difference.equal).toBe(false);
    expect(difference.stage).toEqual({
      name: 'apply',
      files: [
        { name: 'w.safetensors', where: 'tensors fc.weight of 2' },
        { name: 'x.json', where: '$.a[0].b: 1 against 2' },
      ],
    });
    expect(difference.inputs).toEqual([{ name: 'data.calibration', first: 'data 1', second: 'data 2' }]);
    expect(difference.versions).toEqual([{ name: 'onnx', first: '1', second: '2' }]);
  });
});
