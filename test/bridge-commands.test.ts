import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { withFolder } from './bridge-fake.js';

/** Runs the built command line with environments in `home`. */
function dopt(home: string, args: string[], env: Record<string, string> = {}) {
  const bin = fileURLToPath(new URL('../bin/run.js', import.meta.url));
  const child = spawnSync(process.execPath, [bin, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env, DOPT_HOME: home },
  });
  return { code: child.status, out: child.stdout, err: child.stderr };
}

describe('dopt env', () => {
  it('lists nothing where nothing was made, and says what to do', async () => {
    await withFolder(async (home) => {
      const text = dopt(home, ['env', 'list']);
      expect(text.code).toBe(0);
      expect(text.out).toContain('dopt env create');
      expect(JSON.parse(dopt(home, ['env', 'list', '--json']).out)).toEqual({
        folder: `${home}/envs`,
        environments: [],
      });
    });
  });

  it('doctor exits with 4 and keeps its findings when no profile can be had', async () => {
    await withFolder(async (home) => {
      const env = { DOPT_PYTHON: '/nowhere/python' };
      const text = dopt(home, ['env', 'doctor'], env);
      expect(text.code).toBe(4);
      expect(text.out).toMatch(/MISSING {2}profile onnx: .*\n.*\/nowhere\/python \(DOPT_PYTHON\)/);
      expect(text.out).toContain('> Unset DOPT_PYTHON');
      const json = dopt(home, ['env', 'doctor', '--json'], env);
      expect(json.code).toBe(4);
      const { ok, findings } = JSON.parse(json.out) as { ok: boolean; findings: { name: string }[] };
      expect(ok).toBe(false);
      expect(findings.map(({ name }) => name)).toEqual([
        'Node',
        'processor',
        'C++ compiler',
        'native core',
        'CUDA core',
        '--device cuda',
        'profile onnx',
        'profile tensorflow',
        'profile torch',
        'profile current',
      ]);
    });
  });

  it('create exits with 4 in both forms when there is no interpreter', async () => {
    await withFolder(async (home) => {
      const env = { DOPT_PYTHON: '/nowhere/python' };
      expect(dopt(home, ['env', 'create'], env).code).toBe(4);
      expect(dopt(home, ['env', 'create', '--json'], env).code).toBe(4);
    });
  });

  it('create refuses a profile that does not exist', async () => {
    await withFolder(async (home) => {
      const { code, err } = dopt(home, ['env', 'create', 'nonsense']);
      expect(code).toBe(2);
      expect(err).toContain('onnx');
    });
  });
});
