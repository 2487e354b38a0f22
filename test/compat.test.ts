import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { quantParamsSchema } from '../src/config/quant-params.js';
import { contents, digits, dopt, inFolder, printedError, ROOT, sha256 } from './helpers/cli.js';
import { type Command, command, config, copyPictures, digest, quantized, SHAPE } from './helpers/compat.js';

let work: string;
let pictures: string;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'dopt-compat-'));
  pictures = copyPictures(work);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('dopt compat notrain', () => {
  let reference: string[];
  let made: Command;
  beforeAll(async () => {
    const folder = join(work, 'reference');
    mkdirSync(folder);
    made = command(folder, config(folder, 'image.prototxt', { PICTURES: pictures }));
    const { code, out, err } = await dopt(['compat', 'notrain', ...made.flags]);
    expect(code, err).toBe(0);
    expect(out).toContain('The model was quantized successfully.');
    reference = digest(made);
  });

  it('writes a float model on the grid and the open parameter file, and a run folder beside', async () => {
    const { InferenceSession, Tensor } = await import('onnxruntime-node');
    const parameters = quantParamsSchema.parse(JSON.parse(readFileSync(made.parameters, 'utf8')));
    expect(parameters).toMatchObject({ model: 'model', strategy: 'int8-8' });
    expect(existsSync(join(`${made.output}.dopt`, 'report.html'))).toBe(true);
    const text = readFileSync(made.output, 'latin1');
    expect(text).not.toMatch(/QuantizeLinear/);
    const pixels = new Tensor(
      'float32',
      Float32Array.from({ length: 256 }, (_, i) => (i % 17) / 17),
      [1, 1, 16, 16],
    );
    const run = async (model: string): Promise<Float32Array> => {
      const session = await InferenceSession.create(model);
      const { logits } = await session.run({ image: pixels });
      await session.release();
      return logits!.data as Float32Array;
    };
    const [float, snapped] = [await run(digits.model), await run(made.output)];
    const distance = Math.max(...float.map((value, i) => Math.abs(value - snapped[i]!)));
    expect(distance).toBeGreaterThan(0);
    expect(distance).toBeLessThan(0.1 * Math.max(...float.map(Math.abs)));
  });

  // Each of the three scripts with another way to write the same configuration, once with relative paths.
  it.each([
    ['onnx', 'image-hash.prototxt', false],
    ['pytorch', 'windows.prototxt', false],
    ['tf', 'image.prototxt', true],
  ] as const)('gives the same bytes through dopt_%s_py3/dopt_so.py and %s', (name, file, relative) =>
    inFolder(async (folder) => {
      const calConf = config(folder, file, { PICTURES: pictures });
      const paths = relative
        ? { '--cal_conf': file, '--output': 'net_quant.onnx', '--compress_conf': 'net_param' }
        : {};
      const own = command(folder, calConf, paths);
      const script = join(ROOT, `compat/dopt_${name}_py3/dopt_so.py`);
      const ended = spawnSync('python3', [script, ...own.flags], { encoding: 'utf8', cwd: folder });
      expect(ended.status, ended.stderr).toBe(0);
      expect(ended.stdout).toContain('The model was quantized successfully.');
      expect(digest(own)).toEqual(reference);
    }),
  );

  it('passes the exit code of an error through the script', () =>
    inFolder(async (folder) => {
      const own = command(folder, config(folder, 'image.prototxt', { PICTURES: pictures }), { '-m': '1' });
      const script = join(ROOT, 'compat/dopt_onnx_py3/dopt_so.py');
      const ended = spawnSync('python3', [script, ...own.flags], { encoding: 'utf8' });
      expect(ended.status).toBe(2);
      expect(ended.stderr).toContain('mode 0 only');
    }));

  it('takes bins of both kinds for the same pictures to the same model', () =>
    inFolder(async (folder) => {
      const bins = await Promise.all(
        ['510', '610'].map(async (format) => {
          const path = join(folder, `${format}.bin`);
          const { code, err } = await dopt([
            ...['compat', 'bin', 'write', '--format', format, '--out', path],
            ...['--color', 'gray', '--std', '255', pictures],
          ]);
          expect(code, err).toBe(0);
          return path;
        }),
      );
      for (const [index, path] of bins.entries()) {
        const calConf = join(folder, `${index}.prototxt`);
        writeFileSync(calConf, `preprocess_parameter { input_type: BINARY input_file_path: "${path}" }`);
        const target = join(folder, String(index));
        mkdirSync(target);
        expect(await quantized(command(target, calConf))).toEqual(reference);
      }
    }));

  it('leaves hidden files and sub-folders out, and says so', () =>
    inFolder(async (folder) => {
      const mixed = join(folder, 'mixed');
      mkdirSync(join(mixed, 'deeper'), { recursive: true });
      for (const name of readdirSync(pictures)) copyFileSync(join(pictures, name), join(mixed, name));
      writeFileSync(join(mixed, '.DS_Store'), 'x');
      writeFileSync(join(mixed, 'deeper/broken.png'), 'x');
      const own = command(folder, config(folder, 'image.prototxt', { PICTURES: mixed }));
      const { code, err } = await dopt(['compat', 'notrain', ...own.flags]);
      expect(code, err).toBe(0);
      expect(err).toContain('.DS_Store, deeper/ are ignored');
      expect(digest(own)).toEqual(reference);
    }));

  it('runs again over its own results, and never over those of others', async () => {
    expect(await quantized(made)).toEqual(reference);
    writeFileSync(made.output, 'edited by hand');
    const folder = join(work, 'reference');
    const before = contents(folder);
    const ended = await dopt(['compat', 'notrain', ...made.flags, '--json']);
    expect(ended.code).toBe(3);
    expect(printedError(ended)).toMatchObject({ code: 'COMPAT_OUT_EXISTS', place: made.output });
    expect(contents(folder)).toEqual(before);
    expect(await quantized(made, ['--overwrite'])).toEqual(reference);
  });

  it('is what dopt quantize does with the recipe that dopt convert-config makes of it', () =>
    inFolder(async (folder) => {
      const recipe = join(folder, 'recipe.yaml');
      const source = config(folder, 'image.prototxt', { PICTURES: pictures });
      const converted = await dopt(['convert-config', source, '--input_shape', SHAPE, '--out', recipe]);
      expect(converted.code, converted.err).toBe(0);
      expect(converted.out).toContain(`--data ${pictures}`);
      const out = join(folder, 'run');
      const flags = ['--data', pictures, '--recipe', recipe, '--input-shape', SHAPE, '--out', out, '--quiet'];
      const run = await dopt(['quantize', digits.model, ...flags]);
      expect(run.code, run.err).toBe(0);
      expect(sha256(join(out, 'quant_params.json'))).toBe(reference[1]);
    }));

  it('takes Quant_INT16-8', () =>
    inFolder(async (folder) => {
      const own = command(folder, config(folder, 'int16.prototxt', { PICTURES: pictures }));
      await quantized(own);
      const parameters = quantParamsSchema.parse(JSON.parse(readFileSync(own.parameters, 'utf8')));
      expect(parameters.strategy).toBe('int16-8');
    }));

  it('warns of a standard deviation of 0 and of a GPU, also in the report', () =>
    inFolder(async (folder) => {
      const own = command(folder, config(folder, 'zero-std.prototxt', { PICTURES: pictures }), {
        '--device_idx': '1',
      });
      const { code, out, err } = await dopt(['compat', 'notrain', ...own.flags, '--json']);
      expect(code, err).toBe(0);
      const { result } = JSON.parse(out) as { result: { warnings: string[] } };
      expect(result.warnings).toEqual(
        expect.arrayContaining([
          expect.stringMatching(/standard_deviation 0/),
          expect.stringMatching(/--device_idx 1 changes nothing/),
        ]),
      );
    }));
});

describe('dopt_so.py', () => {
  const script = join(ROOT, 'compat/dopt_onnx_py3/dopt_so.py');

  it('works through a link from another folder, where dopt is on PATH only', () =>
    inFolder(async (folder) => {
      const tools = join(folder, 'tools_dopt');
      mkdirSync(join(tools, 'dopt_onnx_py3'), { recursive: true });
      copyFileSync(join(ROOT, 'compat/_forward.py'), join(tools, '_forward.py'));
      const copy = join(tools, 'dopt_onnx_py3/dopt_so.py');
      copyFileSync(script, copy);
      const bin = join(folder, 'bin');
      mkdirSync(bin);
      writeFileSync(join(bin, 'dopt'), '#!/bin/sh\necho "$@"\nexit 7\n', { mode: 0o755 });
      const python = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], {
        encoding: 'utf8',
      });
      const ended = spawnSync(python.trim(), [copy, '-m', '0', '--model', 'a b'], {
        encoding: 'utf8',
        env: { PATH: `${bin}:/bin:/usr/bin` },
      });
      expect([ended.status, ended.stdout]).toEqual([7, 'compat notrain -m 0 --model a b\n']);
      const nowhere = spawnSync(python.trim(), [copy, '-m', '0'], {
        encoding: 'utf8',
        env: { PATH: folder },
      });
      expect(nowhere.status).toBe(4);
      expect(nowhere.stderr).toContain('Node.js 20');
    }));

  it('hands a scenario to the architecture search', () => {
    const ended = spawnSync('python3', [script, '-c', 'no-scenario.yaml'], { encoding: 'utf8' });
    expect(ended.status).toBe(3);
    expect(ended.stderr).toContain('no-scenario.yaml does not exist');
  });
});
