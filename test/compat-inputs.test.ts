import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeBinHeader } from '../src/compat/bin-file.js';
import { quantParamsSchema } from '../src/config/quant-params.js';
import { digits, dopt, inFolder, printedError, ROOT } from './helpers/cli.js';
import {
  type Command,
  command,
  config,
  copyPictures,
  PICTURES,
  quantized,
  refusal,
} from './helpers/compat.js';

const TWO_INPUTS = join(ROOT, 'test/fixtures/compat/two-inputs.onnx');

let work: string;
let pictures: string;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'dopt-compat-'));
  pictures = copyPictures(work);
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

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
      const calConf = config(folder, 'full-width.prototxt', { PICTURES: pictures });
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
      const error = await refusal(
        command(folder, config(folder, 'image.prototxt', { PICTURES: pictures }), more),
        exit,
      );
      expect(error.code).toBe(code);
    }),
  );

  it('output nodes that do not exist', () =>
    inFolder(async (folder) => {
      const own = command(folder, config(folder, 'image.prototxt', { PICTURES: pictures }), {
        '--out_nodes': 'logit',
      });
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
