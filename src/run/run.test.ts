import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT, UserError } from '../errors.js';
import { Run } from './run.js';

let folder: string;
let run: Run;
const open = (resume: boolean): Promise<Run> =>
  Run.open(join(folder, 'run'), { resume, inputs: [], command: ['dopt'], version: '0' });

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-run-'));
  run = await open(false);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Work that leaves a file and says how often it was done. */
function work() {
  const done: string[] = [];
  const stage = (of: Run, name: string, key: unknown) =>
    of.stage(name, key, async (at) => {
      done.push(at);
      writeFileSync(join(at, 'file'), JSON.stringify(key));
      return done.length;
    });
  return { done, stage };
}

describe('a stage', () => {
  it('is not repeated with the same key, and listed once', async () => {
    const { done, stage } = work();
    const first = await stage(run, 'observe', 1);
    expect(await stage(run, 'observe', 1)).toEqual(first);
    expect(done).toHaveLength(1);
    await stage(run, 'observe', 2);
    await stage(run, 'observe', 1);
    expect(done).toHaveLength(3);
    expect(run.stages.map(({ reused }) => reused)).toEqual([false, false, false]);
  });
});

describe('a variant of a run', () => {
  it('takes over what the run has finished with the same key', async () => {
    const { done, stage } = work();
    const first = await stage(run, 'observe', 1);
    const variant = run.variant('trial-1');
    expect(await stage(variant, 'observe', 1)).toEqual(first);
    expect(variant.stageFolder('observe')).toBe(run.stageFolder('observe'));
    expect(done).toHaveLength(1);
  });

  it('keeps what differs apart, and leaves the stages of the run as they are', async () => {
    const { done, stage } = work();
    const { digest } = await stage(run, 'refine', 1);
    const variants = [run.variant('trial-1'), run.variant('trial-2')];
    for (const [index, variant] of variants.entries()) await stage(variant, 'refine', 2 + index);
    expect(new Set(done).size).toBe(3);
    expect(variants.map((variant) => variant.stageFolder('refine'))).toEqual(done.slice(1));
    expect((await stage(run.variant('trial-3'), 'refine', 1)).digest).toBe(digest);
    expect(run.stages.map(({ name }) => name)).toEqual(['refine']);
  });

  it('is resumed with its run', async () => {
    const first = work();
    await first.stage(run.variant('trial-1'), 'apply', 1);
    await run.abandon(new Error('stopped'));
    const second = work();
    const variant = (await open(true)).variant('trial-1');
    expect((await second.stage(variant, 'apply', 1)).value).toBe(1);
    expect(second.done).toEqual([]);
    expect(existsSync(join(variant.stageFolder('apply'), 'file'))).toBe(true);
  });
});

describe('a run that ended early', () => {
  const mistake = new UserError('DATA_NOT_FOUND', 'There is no data.');
  const stopped = new UserError('INTERRUPTED', 'It was stopped.', { exitCode: EXIT.interrupted });

  it('by a mistake of the user is gone on with unasked', async () => {
    await work().stage(run, 'capture', 1);
    await run.abandon(mistake);
    const again = await open(false);
    const { done, stage } = work();
    await stage(again, 'capture', 1);
    expect(done).toEqual([]);
    await again.finish({}, {});
    await expect(open(false)).rejects.toMatchObject({ code: 'OUT_EXISTS' });
  });

  it('by a mistake that shows late is not', async () => {
    await work().stage(run, 'observe', 1);
    await run.abandon(mistake);
    await expect(open(false)).rejects.toMatchObject({ code: 'OUT_EXISTS' });
  });

  it.each([stopped, new Error('a defect')])('by anything else is not: %s', async (error) => {
    await run.abandon(error);
    await expect(open(false)).rejects.toMatchObject({ code: 'OUT_EXISTS' });
  });
});
