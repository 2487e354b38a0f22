import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { UserError } from '../errors.js';
import { parseNotrainConfig, readNotrainConfig } from './config.js';

const sample = (name: string): string =>
  readFileSync(new URL(`../../test/fixtures/compat/configs/${name}`, import.meta.url), 'utf8');
const parse = (name: string) => parseNotrainConfig(sample(name), name);

const refusal = (text: string): UserError => {
  try {
    parseNotrainConfig(text, 'c.prototxt');
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return error as UserError;
  }
  throw new Error('was read');
};

describe('config.prototxt', () => {
  it('with // comments and a colon before the brace', () => {
    expect(parse('image.prototxt')).toMatchObject({
      strategy: 'int8-8',
      device: 'cpu',
      inputs: [{ kind: 'image', color: 'bgr', path: '@PICTURES@', mean: [0], std: [255] }],
      exclude: [],
      warnings: [],
    });
  });

  it.each(['image-hash.prototxt', 'windows.prototxt'])('%s says the same', (name) => {
    const { inputs, strategy } = parse(name);
    expect({ strategy, input: { ...inputs[0], places: null } }).toEqual({
      strategy: 'int8-8',
      input: { ...parse('image.prototxt').inputs[0], places: null },
    });
  });

  it('with three standard deviations, a path in pieces and excluded operators joined by ;', () => {
    const { device, inputs, exclude } = parse('three-std.prototxt');
    expect(device).toBe('gpu');
    expect(inputs[0]).toMatchObject({
      color: 'rgb',
      path: '/data/calibration',
      mean: [123.68, 116.78, 103.94],
      std: [58.4, 57.1, 57.4],
    });
    expect(exclude).toEqual([
      { name: 'conv1/weights', place: 'three-std.prototxt:12:13' },
      { name: 'conv2/weights', place: 'three-std.prototxt:12:13' },
      { name: 'logits/weights', place: 'three-std.prototxt:13:13' },
    ]);
  });

  it('with several inputs, in order', () => {
    expect(parse('two-inputs.prototxt').inputs.map(({ kind, path }) => [kind, path])).toEqual([
      ['binary', '@FIRST@'],
      ['binary', '@SECOND@'],
    ]);
    expect(parse('mixed-inputs.prototxt').inputs.map(({ kind }) => kind)).toEqual(['image', 'binary']);
  });

  it('reads a standard deviation of 0 as 1 and says so', () => {
    const { inputs, warnings } = parse('zero-std.prototxt');
    expect(inputs[0]).toMatchObject({ mean: [0], std: [1] });
    expect(warnings).toEqual([expect.stringMatching(/^zero-std\.prototxt:4:23: standard_deviation 0/)]);
  });

  it('takes INT16-8', () => {
    expect(parse('int16.prototxt').strategy).toBe('int16-8');
  });

  it('names full-width punctuation with line and column', () => {
    expect(() => parse('full-width.prototxt')).toThrow(
      expect.objectContaining({
        code: 'PROTOTXT_INVALID',
        place: 'full-width.prototxt:1:9',
        message: expect.stringMatching(/：.* ASCII : is meant[\s\S]*4:19 .*ASCII , is meant[\s\S]*5:1 /),
      }),
    );
  });

  it.each([
    ['strategy: "Quant_INT16-4"', 'COMPAT_STRATEGY', /dopt llm/],
    ['strategy: "NASEA"', 'COMPAT_STRATEGY', /dopt search/],
    ['strategy: "Quant_INT8_8"', 'COMPAT_STRATEGY', /Did you mean "Quant_INT8-8"/],
    ['strategy: "Quant_aigc_ptq"', 'COMPAT_STRATEGY', /plug-in/],
    ['device: USE_NPU', 'PROTOTXT_INVALID', /Mend/],
    ['preprocess_paramter { }', 'PROTOTXT_INVALID', /Did you mean preprocess_parameter/],
  ])('refuses %s', (line, code, advice) => {
    const error = refusal(`${line}\npreprocess_parameter { input_file_path: "/x" }`);
    expect([error.code, error.place?.startsWith('c.prototxt:1:')]).toEqual([code, true]);
    expect(error.suggestions.join('\n')).toMatch(advice);
  });

  it.each([
    ['', /lacks the setting preprocess_parameter/],
    ['preprocess_parameter { }', /lacks the setting preprocess_parameter.input_file_path/],
    ['preprocess_parameter { input_file_path: "/x" standard_deviation: -1 }', /standard_deviation/],
  ])('refuses %j', (text, message) => {
    expect(refusal(text).message).toMatch(message);
  });

  it('refuses files that cannot be read', async () => {
    await expect(readNotrainConfig('/no/such/config.prototxt')).rejects.toMatchObject({
      code: 'PROTOTXT_INVALID',
      place: '/no/such/config.prototxt',
    });
  });
});
