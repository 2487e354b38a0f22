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
import { encodeBinHeader } from '../src/compat/bin-file.js';
import { quantParamsSchema } from '../src/config/quant-params.js';
import { contents, digits, dopt, inFolder, printedError, ROOT, sha256 } from './helpers/cli.js';

const CONFIGS = join(ROOT, 'test/fixtures/compat/configs');
const TWO_INPUTS = join(ROOT, 'test/fixtures/compat/two-inputs.onnx');
const PICTURES = 24;
const SHAPE = 'image:1,1,16,16';

let work: string;
let pictures: string;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'dopt-compat-'));
  pictures = join(work, 'pictures');
  mkdirSync(pictures);
  for (const name of readdirSync(digits.calibration).slice(0, PICTURES))
    copyFileSync(join(digits.calibration, name), join(pictures, name));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** Writes a sample configuration with its @NAMES@ filled in; returns its path. */
function config(
  folder: string,
  name: string,
  names: Record<string, string> = { PICTURES: pictures },
): string {
  const text = readFileSync(join(CONFIGS, name), 'utf8').replace(/@([A-Z]+)@/g, (_, key) => names[key]!);
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

interface Command {
  flags: string[];
  output: string;
  parameters: string;
}

/** The flags of the ONNX sample command line of the original's page. */
function command(folder: string, calConf: string, more: Record<string, string> = {}): Command {
  const output = join(folder, 'net_quant.onnx');
  const parameters = join(folder, 'net_param');
  const flags = {
    '-m': '0',
    '--framework': '5',
    '--model': digits.model,
    '--cal_conf': calConf,
    '--output': output,
    '--input_shape': SHAPE,
    '--compress_conf': parameters,
    ...more,
  };
  return { flags: Object.entries(flags).flat(), output, parameters };
}

const digest = ({ output, parameters }: Command): string[] => [sha256(output), sha256(parameters)];

/** Runs `dopt compat notrain`, which must succeed, and gives the digest of both results. */
async function quantized(made: Command, more: string[] = []): Promise<string[]> {
  const { code, err } = await dopt(['compat', 'notrain', ...made.flags, '--quiet', ...more]);
  expect(code, err).toBe(0);
  return digest(made);
}

/** The error of a `dopt compat notrain` that must fail and leave nothing under a final name. */
async function refusal(made: Command, code: number, more: string[] = []) {
  const ended = await dopt(['compat', 'notrain', ...made.flags, ...more, '--json']);
  expect(ended.code, ended.err + ended.out).toBe(code);
  expect([existsSync(made.output), existsSync(made.parameters)]).toEqual([false, false]);
  return printedError(ended);
}

describe('dopt compat notrain', () => {
  let reference: string[];
  let made: Command;
  beforeAll(async () => {
    const folder = join(work, 'reference');
    mkdirSync(folder);
    made = command(folder, config(folder, 'image.prototxt'));
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
      const calConf = config(folder, file);
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
      const own = command(folder, config(folder, 'image.prototxt'), { '-m': '1' });
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
      const source = config(folder, 'image.prototxt');
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
      const own = command(folder, config(folder, 'int16.prototxt'));
      await quantized(own);
      const parameters = quantParamsSchema.parse(JSON.parse(readFileSync(own.parameters, 'utf8')));
      expect(parameters.strategy).toBe('int16-8');
    }));

  it('warns of a standard deviation of 0 and of a GPU, also in the report', () =>
    inFolder(async (folder) => {
      const own = command(folder, config(folder, 'zero-std.prototxt'), { '--device_idx': '1' });
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

describe('several inputs', () => {
  const SHAPES = 'image:1,3,8,8;extra:1,4';
  /** A bin file of kind 610 with numbers that depend on the position alone. */
  function bin(path: string, shape: number[], step: number): string {
    const length = shape.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length }, (_, i) => Math.sin(i * step));
    writeFileSync(path, Buffer.concat([encodeBinHeader(610, shape), Buffer.from(values.buffer)]));
    return path;
  }
  const names = (folder: string, count = 20): Record<string, string> => ({
    FIRST: bin(join(folder, 'image.bin'), [20, 3, 8, 8], 0.37),
    SECOND: bin(join(folder, 'extra.bin'), [count, 4], 0.73),
    EXCLUDE: 'side/weight;last',
  });
  const two = (folder: string, calConf: string, more: Record<string, string> = {}): Command =>
    command(folder, calConf, { '--model': TWO_INPUTS, '--input_shape': SHAPES, ...more });

  it('are paired in the order of --input_shape, and excluded by weight or node', () =>
    inFolder(async (folder) => {
      const made = two(folder, config(folder, 'two-inputs.prototxt', names(folder)));
      await quantized(made);
      const { tensors } = quantParamsSchema.parse(JSON.parse(readFileSync(made.parameters, 'utf8')));
      const weights = tensors.filter(({ kind }) => kind === 'weight').map(({ name }) => name);
      expect(weights).toEqual([expect.stringContaining('conv')]);
      const swapped = two(folder, made.flags[made.flags.indexOf('--cal_conf') + 1]!, {
        '--input_shape': 'extra:1,4;image:1,3,8,8',
        '--output': join(folder, 'swapped.onnx'),
        '--compress_conf': join(folder, 'swapped'),
      });
      const error = printedError(await dopt(['compat', 'notrain', ...swapped.flags, '--json']));
      expect(error.code).toBe('DATA_SHAPE');
    }));

  it('may be a picture folder and a bin', () =>
    inFolder(async (folder) => {
      const calConf = config(folder, 'mixed-inputs.prototxt', {
        ...names(folder, PICTURES),
        FIRST: pictures,
      });
      const made = two(folder, calConf);
      const { code, out, err } = await dopt(['compat', 'notrain', ...made.flags, '--json']);
      expect(code, err).toBe(0);
      const { result } = JSON.parse(out) as { result: { warnings: string[] } };
      // The digits are 16 x 16: calibration and scoring each say that theirs were scaled.
      expect(result.warnings.filter((text) => /scaled to 8 x 8/.test(text))).toHaveLength(2);
    }));

  it('need as many samples each, and one block each', () =>
    inFolder(async (folder) => {
      const calConf = config(folder, 'two-inputs.prototxt', names(folder, 19));
      expect(await refusal(two(folder, calConf), 3)).toMatchObject({
        code: 'DATA_PARTS_DIFFER',
        message: expect.stringMatching(/20 for 'image'.*19 for 'extra'/),
      });
      const error = await refusal(two(folder, calConf, { '--input_shape': 'image:1,3,8,8' }), 3);
      expect(error).toMatchObject({ code: 'COMPAT_INPUT_COUNT', place: `${calConf}:7:23` });
    }));

  it('name unknown excluded operators with their place', () =>
    inFolder(async (folder) => {
      const calConf = config(folder, 'two-inputs.prototxt', { ...names(folder), EXCLUDE: 'last;sid/weight' });
      expect(await refusal(two(folder, calConf), 3)).toMatchObject({
        code: 'EXCLUDE_UNKNOWN',
        place: `${calConf}:11:13`,
        suggestions: expect.arrayContaining([expect.stringContaining('side/weight')]),
      });
    }));
});

describe('bad input', () => {
  const broken: [string, Buffer, RegExp][] = [
    ['a wrong magic number', Buffer.from(Int32Array.from([511, 1, 1, 1, 1, 0]).buffer), /starts with 511/],
    ['a wrong rank', Buffer.from(Int32Array.from([610, 0, 1]).buffer), /rank 0/],
    ['a wrong length', Buffer.concat([encodeBinHeader(510, [1, 1, 16, 16]), Buffer.alloc(40)]), /1024 bytes/],
  ];
  it.each(broken)('a bin with %s', (_, bytes, message) =>
    inFolder(async (folder) => {
      const path = join(folder, 'c.bin');
      writeFileSync(path, bytes);
      const calConf = join(folder, 'c.prototxt');
      writeFileSync(calConf, `preprocess_parameter { input_type: BINARY input_file_path: "${path}" }`);
      expect(await refusal(command(folder, calConf), 3)).toMatchObject({
        code: 'DATA_CORRUPT',
        place: path,
        message: expect.stringMatching(message),
      });
    }),
  );

  it('full-width punctuation in the configuration', () =>
    inFolder(async (folder) => {
      const calConf = config(folder, 'full-width.prototxt');
      expect(await refusal(command(folder, calConf), 3)).toMatchObject({
        code: 'PROTOTXT_INVALID',
        place: `${calConf}:1:9`,
      });
    }));

  it.each<[string, Record<string, string>, number, string]>([
    ['another mode', { '-m': '2' }, 2, 'COMPAT_USAGE'],
    ['the wrong framework for the file', { '--framework': '3' }, 3, 'COMPAT_FILE'],
    ['a folder for the model', { '--model': join(ROOT, 'recipes') }, 3, 'COMPAT_FILE'],
    ['full-width punctuation in a shape', { '--input_shape': 'image：1' }, 2, 'USAGE'],
    ['a format of another name', { '--input_format': 'NCWH' }, 2, 'USAGE'],
    ['a flag that nobody knows', { '--calconf': 'x' }, 2, 'USAGE'],
  ])('%s', (_, more, exit, code) =>
    inFolder(async (folder) => {
      const error = await refusal(command(folder, config(folder, 'image.prototxt'), more), exit);
      expect(error.code).toBe(code);
    }),
  );

  it('output nodes that do not exist', () =>
    inFolder(async (folder) => {
      const own = command(folder, config(folder, 'image.prototxt'), { '--out_nodes': 'logit' });
      const error = await refusal(own, 3);
      expect(`${error.message} ${error.suggestions.join(' ')}`).toContain('logits');
    }));
});

describe('dopt compat bin', () => {
  it('shows what it wrote', () =>
    inFolder(async (folder) => {
      const path = join(folder, 'c.bin');
      const flags = ['--format', '510', '--out', path, '--color', 'gray', pictures];
      const written = await dopt(['compat', 'bin', 'write', ...flags, '--json']);
      expect(written.code, written.err).toBe(0);
      const shown = await dopt(['compat', 'bin', 'show', path, '--json']);
      expect(JSON.parse(shown.out)).toEqual(JSON.parse(written.out));
      expect(JSON.parse(shown.out)).toMatchObject({
        format: 510,
        shape: [PICTURES, 1, 16, 16],
        notFinite: 0,
      });
      const again = await dopt(['compat', 'bin', 'write', ...flags, '--json']);
      expect(printedError(again).code).toBe('BIN_OUT_EXISTS');
      const none = await dopt(['compat', 'bin', 'show', digits.model, '--json']);
      expect(none.code).toBe(3);
      expect(printedError(none)).toMatchObject({ code: 'BIN_BROKEN', place: digits.model });
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

  it('tells users of structure search where to go', () => {
    const ended = spawnSync('python3', [script, '-c', 'scen.yaml'], { encoding: 'utf8' });
    expect(ended.status).toBe(2);
    expect(ended.stderr).toContain('-m 0');
  });
});
