import { describe, expect, it } from 'vitest';
import { converterLimits } from '../config/converter-operators.js';
import { checkModel, type ModelFacts, plainName } from './checks.js';
import { converterArguments, shellLine } from './command-line.js';

const limits = converterLimits();
const facts = (more: Partial<ModelFacts> = {}): ModelFacts => ({
  path: 'models_1/net.v2.onnx',
  bytes: 1000,
  opset: 13,
  operators: new Map([['Conv', 2]]),
  inputs: [{ name: 'x', dtype: 'float32', shape: [1, 3, 8, 8] }],
  outputs: ['y'],
  tensors: new Set(['y', 'z']),
  ...more,
});
const check = (more: Partial<ModelFacts> = {}, shapes: Record<string, number[]> = {}, names: string[] = []) =>
  checkModel(facts(more), shapes, names, limits);
const problems = (...given: Parameters<typeof check>) => check(...given).problems;

describe('checks for the converter', () => {
  it('let a model through that keeps to the limits', () => {
    expect(check({}, {}, ['out_1'])).toEqual({ problems: [], warnings: [] });
  });

  it.each([6, 19])('opset %i', (opset) => {
    expect(problems({ opset })[0]!.message).toContain(`opset ${opset}`);
    expect(problems({ opset: opset === 6 ? 7 : 18 })).toEqual([]);
  });

  it('size', () => {
    expect(problems({ bytes: 2 ** 31 })).toEqual([]);
    expect(problems({ bytes: 2 ** 31 + 1 })[0]!.message).toContain('2 GiB');
  });

  it.each([
    ['my-models/net.onnx', 'my_models'],
    ['v1.2/net.onnx', 'v1.2'],
    ['net 1.onnx', 'net_1.onnx'],
    ['模型.onnx', '__.onnx'],
  ])('characters of the path %s', (path, remedy) => {
    expect(problems({ path })[0]!.remedy).toContain(remedy);
    expect(problems({}, {}, [path])).toHaveLength(1);
    expect(problems({ path: '../../models_1/./net.v2.onnx' })).toEqual([]);
  });

  it('shapes that are not fixed, with a proposal; shapes that contradict the model; unknown inputs', () => {
    const open = { inputs: [{ name: 'x', dtype: 'float32' as const, shape: ['batch', 3, null, 8] }] };
    expect(problems(open)[0]!.remedy).toBe('Give them: --input-shape "x:1,3,1,8"');
    expect(problems(open, { x: [2, 3, 8, 8] })).toEqual([]);
    expect(problems(open, { x: [2, 4, 8, 8] })).toHaveLength(1);
    expect(problems(open, { x: [2, 3, 8] })).toHaveLength(1);
    expect(problems({}, { image: [1] })[0]!.message).toContain('image');
  });

  it('outputs that do not exist, with near matches, and names that the command line cannot hold', () => {
    expect(problems({ outputs: ['yy'] })[0]!.remedy).toContain('y');
    expect(problems({ outputs: ['a;b'], tensors: null })).toHaveLength(1);
    expect(problems({ outputs: ['/head/y:0'], tensors: null })).toEqual([]);
  });

  it('operators: absent ones are refused, doubtful ones are said', () => {
    const found = check({
      operators: new Map([
        ['QuantizeLinear', 3],
        ['Einsum', 1],
        ['com.microsoft::Gelu', 2],
      ]),
    });
    expect(found.problems[0]!.message).toContain('QuantizeLinear (3)');
    expect(found.warnings.join(' ')).toMatch(/Einsum \(1\).*com\.microsoft::Gelu \(2\)/);
  });
});

describe('the command line', () => {
  it('has the flags of the documentation, in its order, without those that are not needed', () => {
    const line = {
      model: 'net.onnx',
      framework: 5 as const,
      weight: null,
      output: 'net',
      compressConf: 'param',
      inputShapes: [
        { name: 'a', shape: [1, 3] },
        { name: 'b', shape: [2] },
      ],
      outputs: ['y', 'z'],
      platform: 'kirin9020',
    };
    expect(converterArguments(line)).toEqual([
      '--model=net.onnx',
      '--framework=5',
      '--output=net',
      '--compress_conf=param',
      '--input_shape=a:1,3;b:2',
      '--out_nodes=y;z',
      '--platform=kirin9020',
    ]);
    const bare = { ...line, compressConf: null, platform: null, outputs: [], inputShapes: [] };
    expect(converterArguments(bare)).toEqual(['--model=net.onnx', '--framework=5', '--output=net']);
  });

  it('can be pasted into a shell', () => {
    expect(shellLine(['omg', '--out_nodes=y;z', "--model=it's"])).toBe(
      "omg '--out_nodes=y;z' '--model=it'\\''s'",
    );
  });

  it('proposes names that pass the check', () => {
    expect(problems({ path: plainName('net-1 (copy).onnx') })).toEqual([]);
  });
});
