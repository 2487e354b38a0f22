import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readScenario } from './scenario.js';

const SAMPLE = `scenario:
  strategy:
    name: NASEA
    framework: PyTorch
    batch_size: 64
    epochs: 10
    supernet:
      input_shape: (224,224,3)
      data_format: channels_first
      filters: 64,64,128
      strides: 1,1,2
    constraint:
      application_type: image_classification
      constraint_type: size
      constraint_value: 11.4M
    optimizer:
      weights_optimizer:
        type: Adam
        betas: [0.9,0.999]
        learning_rate: 0.0001
    dataset:
      pre_train_dir： /data/pre
      train_dir: /data/train
      val_dir: /data/val
    searcher:
      generation_num: 100
      pop_size: 40
    resource:
      name: pytorch_standalone
      gpu_id: 0,1
`;
const folder = mkdtempSync(join(tmpdir(), 'dopt-scenario-'));
const read = (text: string) => {
  const path = join(folder, 'scen.yaml');
  writeFileSync(path, text);
  return readScenario(path);
};

it('reads the sample of the original, slips and all', async () => {
  const { supernet, constraint, dataset, resource, notes, searcher } = await read(SAMPLE);
  expect(supernet).toMatchObject({ input_shape: [224, 224, 3], filters: [64, 64, 128], strides: [1, 1, 2] });
  expect(constraint.constraint_value).toBe(11.4e6);
  expect(dataset.pre_train_dir).toBe('/data/pre');
  expect(resource).toEqual({ name: 'pytorch_standalone', gpu_id: '0,1' });
  expect(searcher).toMatchObject({ generation_num: 100, pop_size: 40, seed: 0 });
  expect(notes).toEqual([expect.stringContaining('scen.yaml:22 has a full-width colon')]);
});

it('takes resource where the table of the original has it', async () => {
  const moved = SAMPLE.replace(
    / {4}resource:[\s\S]*$/,
    '  resource: {name: Pytorch_standalone, gpu_id: 0}\n',
  );
  expect((await read(moved)).resource).toEqual({ name: 'pytorch_standalone', gpu_id: '0' });
});

it('takes further limits', async () => {
  const limits =
    '    constraints:\n      - {cost: latency, max: 3, target: kirin9020, precision: int8}\n    optimizer:';
  expect((await read(SAMPLE.replace('    optimizer:', limits))).constraints).toEqual([
    { cost: 'latency', max: 3, target: 'kirin9020', precision: 'int8' },
  ]);
});

it.each([
  ['strides: 1,1,2', 'strides: 1,1', /scen\.yaml:11:\d+ .*strides/, /3 filters and 2 strides/],
  ['strides: 1,1,2', 'strides: 1,1,3', /scen\.yaml:11/, /ones and twos/],
  ['framework: PyTorch', 'framework: Pytorch', /scen\.yaml:4/, /TensorFlow, PyTorch/],
  ['batch_size: 64', 'batch_sise: 64', /scen\.yaml:5.*batch_sise/, /./],
  ['type: Adam', 'type: Momentum', /scen\.yaml:18/, /SGD or Adam/],
  ['constraint_value: 11.4M', 'constraint_value: small', /scen\.yaml:15/, /number/],
  ['(224,224,3)', '(224,224)', /scen\.yaml:8/, /height, width, channels/],
])('%s as %s is refused at its line', async (right, wrong, message, expected) => {
  const error = await read(SAMPLE.replace(right, wrong)).catch((thrown) => thrown);
  expect(error.code).toBe('SCENARIO_INVALID');
  expect(error.message).toMatch(message);
  expect(`${error.expected}`).toMatch(expected);
});

it.each([
  ['{kind: supernet, halving: {}}', /halving/, /kind: standalone/],
  ['{kind: standalone, inherit: true}', /inherit/, /halving, which keeps the weights/],
  ['{kind: standalone, epochs: 2, halving: {first: 2}}', /epochs/, /more than halving.first, 2/],
  ['{kind: standalone, halving: {factor: 1}}', /factor/, /2/],
  ['{kind: standalone, tune: 80}', /tune/, /kind: supernet/],
  ['{tune: 0, seeds: 2}', /seeds/, /kind: supernet and tune/],
])('refuses an evaluator of %s', async (evaluator, place, expected) => {
  const text = SAMPLE.replace('    optimizer:', `    evaluator: ${evaluator}\n    optimizer:`);
  const error = await read(text).catch((thrown) => thrown);
  expect(error.code).toBe('SCENARIO_INVALID');
  const said = JSON.stringify([error.message, error.place, error.expected, error.found]);
  expect(said).toMatch(place);
  expect(said).toMatch(expected);
});

it('an unknown key is answered with a near one', async () => {
  const error = await read(SAMPLE.replace('pop_size', 'popsize')).catch((thrown) => thrown);
  expect(error.suggestions.join()).toContain('Did you mean pop_size?');
});

it('takes the settings that docs/search.md shows', async () => {
  const page = readFileSync(new URL('../../docs/search.md', import.meta.url), 'utf8');
  const shown = [...page.matchAll(/^```yaml\n([\s\S]*?)^```/gm)].map(([, text]) => text!);
  expect(shown.length).toBeGreaterThan(1);
  const settings = shown.join('').replace(/^(?=.)/gm, '    ');
  const scenario = await read(SAMPLE.replace('    searcher:', `${settings}    searcher:`));
  expect(scenario.constraints).toHaveLength(2);
  expect(scenario.evaluator).toMatchObject({ kind: 'standalone', halving: { first: 1, factor: 3 } });
});
