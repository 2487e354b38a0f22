import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { candidates } from '../src/native/places.js';
import { inFolder, ROOT } from './helpers/cli.js';

/** Packs the checkout as it is built, and puts it where `npm install` would; returns that folder and the size of the package. */
function installed(folder: string): { root: string; bytes: number } {
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', folder];
  const [{ filename }] = JSON.parse(
    execFileSync('npm', pack, { cwd: ROOT, stdio: ['ignore', 'pipe', 'ignore'] }).toString(),
  );
  const modules = join(folder, 'else where', 'node_modules');
  mkdirSync(modules, { recursive: true });
  execFileSync('tar', ['xzf', join(folder, filename), '-C', modules]);
  execFileSync('mv', [join(modules, 'package'), join(modules, 'dopt')]);
  const dependencies = Object.keys(JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')).packages)
    .map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)$/.exec(path)?.[1])
    .filter((name) => name !== undefined);
  for (const name of dependencies.filter((one) => existsSync(join(ROOT, 'node_modules', one)))) {
    mkdirSync(join(modules, name, '..'), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
  }
  return { root: join(modules, 'dopt'), bytes: statSync(join(folder, filename)).size };
}

it('the package runs elsewhere, without the repository, and carries nothing of the build', () =>
  inFolder(async (folder) => {
    const { root, bytes } = installed(folder);
    const files = readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
    expect(
      files.filter((file) => /native\/build|__pycache__|\.test\.|tsbuildinfo|\.o$|^src\/|^test\//.test(file)),
    ).toEqual([]);
    for (const file of [
      'bin/run.js',
      'LICENSE',
      'docker/onnx.Dockerfile',
      '.dockerignore',
      'scripts/postinstall.js',
    ])
      expect(files).toContain(file);
    expect(bytes).toBeLessThan(5e6);

    const digits = join(root, 'recipes/digits');
    const args = [
      'quantize',
      join(digits, 'model.onnx'),
      '--data',
      join(digits, 'data/calibration'),
      '--recipe',
      'digits',
    ];
    args.push('--effort', 'fast', '--samples', '8', '--verify-samples', '4', '--out', 'run', '--json');
    const library = candidates(process.env).find(existsSync);
    const env = { ...process.env, PYTHONPATH: '', ...(library ? { DOPT_NATIVE_LIB: library } : {}) };
    const out = execFileSync(process.execPath, [join(root, 'bin/run.js'), ...args], {
      cwd: join(folder, 'else where'),
      env,
    });
    expect(JSON.parse(out.toString()).quantization.weights).toBe(18);
    expect(existsSync(join(folder, 'else where/run/model.int8.onnx'))).toBe(true);
  }));
