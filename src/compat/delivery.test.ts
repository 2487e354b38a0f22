import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { QuantParams } from '../config/quant-params.js';
import { deliver, refuseForeignFiles } from './delivery.js';

let folder: string;
const at = (name: string): string => join(folder, name);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-delivery-'));
  mkdirSync(at('run'));
  writeFileSync(at('run/a'), 'first');
  writeFileSync(at('run/b'), 'second');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const copies = () => ['a', 'b'].map((name) => ({ from: at(`run/${name}`), to: at(`out/${name}`) }));
const refuse = (overwrite = false) => refuseForeignFiles([at('out/a'), at('out/b')], at('run'), overwrite);

describe('delivered files', () => {
  it('are copied and may be replaced by the next run', async () => {
    await refuse();
    const files = await deliver(copies(), at('run'));
    expect(files.map(({ path, bytes }) => [path, bytes])).toEqual([
      [at('out/a'), 5],
      [at('out/b'), 6],
    ]);
    await refuse();
    writeFileSync(at('run/a'), 'third');
    await deliver(copies().slice(0, 1), at('run'));
    expect(readFileSync(at('out/a'), 'utf8')).toBe('third');
    await refuse();
  });

  it('are not replaced when somebody changed them', async () => {
    await deliver(copies(), at('run'));
    writeFileSync(at('out/b'), 'mine');
    await expect(refuse()).rejects.toMatchObject({
      code: 'COMPAT_OUT_EXISTS',
      place: at('out/b'),
      message: expect.stringContaining('was changed since'),
      suggestions: expect.arrayContaining([expect.stringContaining('--overwrite')]),
    });
    await refuse(true);
  });

  it('never take the place of foreign files or folders', async () => {
    mkdirSync(at('out'));
    writeFileSync(at('out/a'), 'a thesis');
    await expect(refuse()).rejects.toMatchObject({ code: 'COMPAT_OUT_EXISTS', place: at('out/a') });
    rmSync(at('out/a'));
    mkdirSync(at('out/a'));
    await expect(refuse(true)).rejects.toMatchObject({ code: 'COMPAT_OUT_FOLDER', place: at('out/a') });
    expect(existsSync(at('out/b'))).toBe(false);
  });

  it('known by their content are parameter files of ours', async () => {
    const params: QuantParams = {
      version: 1,
      model: 'm',
      strategy: 'int8-8',
      target: 't',
      tensors: [],
      float_nodes: [],
    };
    mkdirSync(at('out'));
    writeFileSync(at('out/a'), JSON.stringify(params));
    await refuse();
    writeFileSync(at('out/a'), JSON.stringify({ ...params, version: 2 }));
    await expect(refuse()).rejects.toMatchObject({ code: 'COMPAT_OUT_EXISTS' });
  });
});
