import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Config } from '@oclif/core/config';
import { describe, expect, it } from 'vitest';
import { EXIT } from '../src/errors.js';
import { dopt, inFolder, quick, ROOT, startDopt } from './helpers/cli.js';

/** Mounts a file system of `size` at a folder; null where that is not allowed. */
function smallDisk(folder: string, options: string): (() => void) | null {
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder]).status === 0;
  return mounted ? () => void execFileSync('umount', ['-l', folder]) : null;
}

describe('a disk that takes no more', () => {
  it.for<[string, string, string]>([
    ['full', 'size=200k', 'DISK_WRITE|OUTPUT_WRITE|full|No space'],
    ['read-only', 'ro', 'read-only'],
  ])('%s', ([, options, words], context) =>
    inFolder(async (folder) => {
      const disk = join(folder, 'disk');
      mkdirSync(disk);
      const unmount = smallDisk(disk, options);
      if (!unmount) {
        return context.skip('a small file system can only be mounted by the superuser');
      }
      try {
        const { code, err } = await dopt(quick(join(disk, 'run')));
        expect(code).toBe(EXIT.environment);
        expect(err).toMatch(new RegExp(words));
        expect(err).toContain('try:');
        expect(existsSync(join(disk, 'run/result.json'))).toBe(false);
      } finally {
        unmount();
      }
    }),
  );
});

describe('Python killed in the middle of a stage', () => {
  it('is an error of the framework, and the run can be resumed', () =>
    inFolder(async (folder) => {
      const out = join(folder, 'run');
      const { child, ended } = startDopt(quick(out));
      let killed = false;
      while (child.exitCode === null && !killed) {
        for (const pid of jobsOf(child.pid!)) {
          process.kill(pid, 'SIGKILL');
          killed = true;
        }
        await sleep(5);
      }
      const { code, err } = await ended;
      expect(killed).toBe(true);
      expect(err).toContain('PYTHON_DIED');
      expect(code).toBe(EXIT.framework);
      expect((await dopt(quick(out, '--resume'))).code).toBe(0);
    }));
});

/** Process ids of the jobs that a process has started. */
function jobsOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        const owner = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
        return owner === parent && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('dopt.job');
      } catch {
        return false; // it ended while we looked
      }
    });
}

describe('the public surface', () => {
  it('has --json on every command', async () => {
    const { commands } = await Config.load(ROOT);
    const without = commands.filter(({ flags }) => flags.json === undefined).map(({ id }) => id);
    expect(without).toEqual([]);
  });

  it('is the one in test/fixtures/contract.json (UPDATE_CONTRACT=1 writes it anew: that is an API decision)', async () => {
    const config = await Config.load(ROOT);
    const commands = [...config.commands]
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .map(({ id, args, flags }) => [
        id.replaceAll(':', ' '),
        [
          ...Object.keys(args),
          ...Object.keys(flags)
            .sort()
            .map((flag) => `--${flag}`),
        ],
      ]);
    const contract = {
      commands: Object.fromEntries(commands),
      exitCodes: EXIT,
      schemas: readdirSync(join(ROOT, 'schemas')).sort(),
    };
    const path = join(ROOT, 'test/fixtures/contract.json');
    if (process.env.UPDATE_CONTRACT === '1') writeFileSync(path, `${JSON.stringify(contract, null, 1)}\n`);
    expect(contract).toEqual(JSON.parse(readFileSync(path, 'utf8')));
  });
});
