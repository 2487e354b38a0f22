import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { digits, dopt, inFolder, quick } from './helpers/cli.js';

/** Runs the command and checks what every error has: exit code, code, no result, the same object with --json. */
async function refused(out: string, args: string[], code: number, name: string): Promise<string> {
  const text = await dopt(args);
  expect(text.err).toContain(`${name} (exit ${code})`);
  expect(text.code).toBe(code);
  for (const result of ['result.json', 'report.html', 'quant_params.json']) {
    expect(existsSync(join(out, result))).toBe(false);
  }
  const json = await dopt([
    ...args,
    '--json',
    ...(existsSync(join(out, 'manifest.json')) ? ['--resume'] : []),
  ]);
  expect(json.code).toBe(code);
  expect(JSON.parse(json.out).error).toMatchObject({ code: name, exitCode: code });
  return text.err;
}

function pictures(folder: string, count = 6): string {
  const target = join(folder, 'pictures');
  mkdirSync(target);
  for (const name of readdirSync(digits.calibration).slice(0, count))
    copyFileSync(join(digits.calibration, name), join(target, name));
  return target;
}

describe('models that cannot be used', () => {
  it.each([
    ['cut short', (whole: Buffer) => whole.subarray(0, whole.length / 2)],
    ['text', () => Buffer.from('hello, world\n')],
    ['empty', () => Buffer.alloc(0)],
  ])('%s', (_, damage) =>
    inFolder(async (folder) => {
      const [model, out] = [join(folder, 'net.onnx'), join(folder, 'run')];
      writeFileSync(model, damage(readFileSync(digits.model)));
      const args = ['quantize', model, '--data', digits.calibration, '--recipe', 'digits', '--out', out];
      const { code, err } = await dopt(args);
      expect(code).toBe(3);
      expect(err).toContain(model);
      expect(err).toContain('try:');
      expect(existsSync(join(out, 'result.json'))).toBe(false);
    }),
  );

  it('missing', () =>
    inFolder(async (folder) => {
      const out = join(folder, 'run');
      const args = ['quantize', join(folder, 'none.onnx'), '--data', digits.calibration, '--out', out];
      expect(await refused(out, args, 3, 'MODEL_NOT_FOUND')).toContain('none.onnx');
    }));
});

describe('data that cannot be used', () => {
  it('an empty folder', () =>
    inFolder(async (folder) => {
      const [data, out] = [join(folder, 'empty'), join(folder, 'run')];
      mkdirSync(data);
      expect(await refused(out, quick(out, '--data', data), 3, 'DATA_EMPTY_FOLDER')).toContain(data);
    }));

  it('a corrupt picture among good ones is named, and left out with --skip-bad', () =>
    inFolder(async (folder) => {
      const [data, out] = [pictures(folder), join(folder, 'run')];
      writeFileSync(
        join(data, 'broken.png'),
        readFileSync(join(data, readdirSync(data)[0]!)).subarray(0, 40),
      );
      const first = await dopt(quick(out, '--data', data));
      expect(first.code).toBe(3);
      expect(first.err).toContain('broken.png');
      expect(first.err).toContain('--skip-bad');
      const second = await dopt(quick(join(folder, 'skipped'), '--data', data, '--skip-bad', '--json'));
      expect(second.code).toBe(0);
      expect(second.out).toContain('broken.png');
    }));

  it('pictures of another size say which flag would help', () =>
    inFolder(async (folder) => {
      const out = join(folder, 'run');
      const { code, err } = await dopt(quick(out, '--crop', '8'));
      expect(code).toBe(3);
      expect(err).toMatch(/--resize|--crop/);
    }));
});

describe('flags that cannot be used', () => {
  it.each([
    [['--exclude', '/no/such/node'], 3, 'EXCLUDE_UNKNOWN'],
    [['--mean', 'grey'], 2, 'USAGE'],
    [['--input-shape', 'x：1'], 2, 'USAGE'],
    [['--colour', 'rgb'], 2, 'USAGE'],
    [['--recipe', 'digit'], 3, 'RECIPE_UNKNOWN'],
  ] as const)('%j', (more, code, name) =>
    inFolder(async (folder) => {
      const out = join(folder, 'run');
      await refused(out, quick(out, ...more), code, name);
    }),
  );

  it('a run folder inside the data, or one that holds something else', () =>
    inFolder(async (folder) => {
      const data = pictures(folder);
      const inside = await dopt(quick(join(data, 'run'), '--data', data));
      expect(inside.code).toBe(3);
      expect(inside.err).toContain('OUT_INSIDE_INPUT');
      const foreign = join(folder, 'foreign');
      mkdirSync(foreign);
      writeFileSync(join(foreign, 'thesis.txt'), 'years of work');
      const other = await dopt(quick(foreign));
      expect(other.code).toBe(3);
      expect(other.err).toContain('OUT_NOT_A_RUN');
      expect(readdirSync(foreign)).toEqual(['thesis.txt']);
    }));
});
