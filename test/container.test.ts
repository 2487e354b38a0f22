import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { ensureEnvironment } from '../src/bridge/environments.js';
import { EXIT } from '../src/errors.js';
import { digits, dopt, inFolder, printedError, quick, ROOT, startDopt } from './helpers/cli.js';

let python: string;
beforeAll(async () => {
  python = (await ensureEnvironment('onnx')).python;
});

/** An environment in which `docker` is the stand-in, and its log. */
function standIn(folder: string, more: Record<string, string> = {}) {
  const engine = join(folder, 'docker');
  copyFileSync(join(ROOT, 'test/helpers/stand-in-docker.js'), `${engine}.mjs`);
  chmodSync(`${engine}.mjs`, 0o755);
  const log = join(folder, 'docker.log');
  const env = {
    DOPT_CONTAINER_ENGINE: `${engine}.mjs`,
    DOPT_HOME: join(folder, 'home'),
    STAND_IN_LOG: log,
    STAND_IN_PYTHON: python,
    ...more,
  };
  const runs = (): string[][] =>
    readFileSync(log, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as string[])
      .filter(([verb]) => verb === 'run');
  return { env, runs };
}

/** Whether a process has this file on its command line. */
const works = (file: string): boolean =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .some((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(file);
      } catch {
        return false; // it ended while we looked
      }
    });

describe('--env docker', () => {
  it('gives the bytes of a run outside, sees inputs read-only, and runs replay says so', () =>
    inFolder(async (folder) => {
      const out = join(folder, 'run');
      const { env, runs } = standIn(folder);
      expect((await dopt(quick(out, '--effort', 'fast', '--samples', '12'))).code).toBe(0);
      const ended = await dopt(['runs', 'replay', out, '--env', 'docker', '--json'], { env });
      expect([ended.code, ended.err]).toEqual([0, '']);
      const replayed = JSON.parse(ended.out);
      expect(replayed.equal).toBe(true);
      expect(replayed.files.map(({ name }: { name: string }) => name).sort()).toEqual([
        'model.int8.onnx',
        'quant_params.json',
      ]);
      const mounts = runs().flatMap((line) => line.filter((_, i) => line[i - 1] === '--mount'));
      const writable = mounts.filter((mount) => !mount.endsWith(',readonly'));
      expect(mounts.some((mount) => mount.includes(`source=${digits.calibration},`))).toBe(true);
      expect(writable.length).toBeGreaterThan(0);
      for (const mount of writable) expect(mount).toContain(`source=${out}-replay/stages`);
    }));

  it('is an error that names the engine, and ends with 4, where a container does not start', () =>
    inFolder(async (folder) => {
      const { env } = standIn(folder, { STAND_IN_EXIT: '125' });
      const ended = await dopt(quick(join(folder, 'run'), '--env', 'docker', '--json'), { env });
      expect(ended.code).toBe(EXIT.environment);
      expect(printedError(ended)).toMatchObject({
        code: 'CONTAINER_NOT_STARTED',
        found: expect.stringContaining('told to fail'),
      });
      mkdirSync(join(folder, 'empty'));
      const none = await dopt(quick(join(folder, 'other'), '--env', 'docker', '--json'), {
        env: { DOPT_CONTAINER_ENGINE: join(folder, 'empty/docker'), DOPT_HOME: join(folder, 'home') },
      });
      expect(printedError(none)).toMatchObject({ code: 'CONTAINER_ENGINE', exitCode: EXIT.environment });
    }));

  it('stops with the command, also when that is killed', () =>
    inFolder(async (folder) => {
      const { env, runs } = standIn(folder);
      const { child, ended } = startDopt(quick(join(folder, 'run'), '--env', 'docker'), { env });
      const jobs = (): string[] => {
        try {
          return runs().map((line) => line.at(-1)!);
        } catch {
          return [];
        }
      };
      // The first is the probe; the second works.
      while (jobs().length < 2) await sleep(20);
      child.kill('SIGKILL');
      await ended;
      const deadline = Date.now() + 10_000;
      while (works(jobs().at(-1)!) && Date.now() < deadline) await sleep(100);
      expect(works(jobs().at(-1)!)).toBe(false);
    }));
});
