import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT } from '../src/errors.js';
import { contents, digits, dopt, printedError, quick } from './helpers/cli.js';

const SHAPE = ['--input-shape', 'image:1,1,16,16'];
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'dopt_convert_'));
  expect((await dopt(quick(join(folder, 'run')))).code).toBe(EXIT.ok);
  copyFileSync(digits.model, join(folder, 'net.onnx'));
  writeFileSync(join(folder, 'param'), Buffer.from([0x91, 0x02, 0xff, 0x00, 0x7b]));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const convert = (args: string[], env: Record<string, string> = {}) =>
  dopt(['convert', ...args], { cwd: folder, env });

/** A stand-in for the converter: a shell script first on the PATH. */
function fakeOmg(name: string, script: string): Record<string, string> {
  const bin = join(folder, name);
  mkdirSync(bin);
  writeFileSync(join(bin, 'omg'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, 'omg'), 0o755);
  return { PATH: `${bin}${delimiter}${process.env.PATH}` };
}

describe('the printed command', () => {
  it('of a run makes the float network first, and does not pretend that quant_params.json is read', async () => {
    const before = contents(folder);
    const { code, out, err } = await convert(['run', ...SHAPE, '--platform', 'kirin9020']);
    expect(code).toBe(EXIT.ok);
    expect(out.trim().split('\n')).toEqual([
      'dopt export run --to float-onnx --out run/model.float.onnx',
      'omg --model=run/model.float.onnx --framework=5 --output=model --input_shape=image:1,1,16,16 --out_nodes=logits --platform=kirin9020',
    ]);
    expect(err).toMatch(/no --compress_conf.*encrypted/);
    expect(err).toContain('nothing is computed in integers');
    expect(contents(folder)).toEqual(before);
  });

  it('of a run whose path the converter refuses puts the float network into the current folder', async () => {
    cpSync(join(folder, 'run'), join(folder, 'run-2'), { recursive: true });
    const { code, out, err } = await convert(['run-2', ...SHAPE]);
    expect(code, err).toBe(EXIT.ok);
    expect(out).toContain('dopt export run-2 --to float-onnx --out model.float.onnx\n');
    expect(out).toContain('omg --model=model.float.onnx ');
  });

  it('of a model hands on the parameter file of the original tool', async () => {
    const ended = await convert([
      'net.onnx',
      ...SHAPE,
      '--compress-conf',
      'param',
      '--name',
      'net_8',
      '--json',
    ]);
    const { commands, notes, executed } = JSON.parse(ended.out);
    expect(commands).toEqual([
      'omg --model=net.onnx --framework=5 --output=net_8 --compress_conf=param --input_shape=image:1,1,16,16 --out_nodes=logits',
    ]);
    expect(notes.join(' ')).toContain('param is encrypted');
    expect(executed).toBe(false);
  });

  it('of a TensorFlow graph takes shapes and outputs from the flags', async () => {
    writeFileSync(join(folder, 'net.pb'), 'x');
    const flags = ['--input-shape', 'in:1,8', '--outputs', 'a:0;b:1'];
    const { out } = await convert(['net.pb', ...flags]);
    expect(out.trim()).toBe(
      "omg --model=net.pb --framework=3 --output=net --input_shape=in:1,8 '--out_nodes=a:0;b:1'",
    );
    for (const wrong of [['net.pb'], ['net.pb', '--input-shape', 'in:1,8', '--outputs', 'a']]) {
      expect(printedError(await convert([...wrong, '--json']))).toMatchObject({
        code: 'CONVERT_USAGE',
        exitCode: 2,
      });
    }
  });
});

describe('what the converter would refuse', () => {
  it.each<[string, string[], string, RegExp]>([
    ['open shapes', ['net.onnx'], 'CONVERT_REFUSED', /--input-shape "image:1,1,16,16"/],
    ['a quantized model', ['run/model.int8.onnx', ...SHAPE], 'CONVERT_REFUSED', /dopt convert RUN/],
    ['a name', ['net.onnx', ...SHAPE, '--name', 'net-1'], 'CONVERT_REFUSED', /net_1/],
    ['outputs', ['net.onnx', ...SHAPE, '--outputs', 'logit'], 'CONVERT_REFUSED', /logits/],
    [
      'our parameter file',
      ['net.onnx', ...SHAPE, '--compress-conf', 'run/quant_params.json'],
      'CONVERT_COMPRESS_CONF',
      /original tool/,
    ],
    ['no parameter file', ['net.onnx', ...SHAPE, '--compress-conf', 'none'], 'CONVERT_FILE', /^$/],
    ['a missing model', ['none.onnx'], 'CONVERT_SOURCE', /run folder/],
    ['another file', ['run/report.html'], 'CONVERT_SOURCE', /run folder/],
    ['a folder without a run', ['.'], 'RUN_NOT_FOUND', /runs list/],
  ])('%s', async (_, args, code, remedy) => {
    const error = printedError(await convert([...args, '--json']));
    expect(error).toMatchObject({ code, exitCode: EXIT.invalidInput });
    expect(error.suggestions.join(' ')).toMatch(remedy);
  });
});

describe('--run', () => {
  it('makes the network, runs the converter, shows what it prints and names the result', async () => {
    const env = fakeOmg(
      'good',
      [
        'while [ $# -gt 0 ]; do',
        '  case "$1" in --output=*) name=$(echo "$1" | cut -d= -f2);; --model=*) cp "$(echo "$1" | cut -d= -f2)" seen;; esac',
        '  shift',
        'done',
        'echo converting; echo made > "$name.om"',
      ].join('\n'),
    );
    const { code, out, err } = await convert(['run', ...SHAPE, '--run', '--name', 'made_1'], env);
    expect(code).toBe(EXIT.ok);
    expect(err).toContain('converting');
    expect(out).toContain(`made ${join(folder, 'made_1.om')}`);
    expect(readFileSync(join(folder, 'seen'))).toEqual(readFileSync(join(folder, 'run/model.float.onnx')));
    const again = printedError(await convert(['run', ...SHAPE, '--run', '--name', 'made_1', '--json'], env));
    expect(again.code).toBe('CONVERT_EXISTS');
    expect(readFileSync(join(folder, 'made_1.om'), 'utf8')).toBe('made\n');
  });

  it('ends with code 5 when the converter fails, with its last words', async () => {
    const env = fakeOmg('bad', 'echo "[ERROR] op type is not supported" >&2; exit 3');
    const ended = await convert(['net.onnx', ...SHAPE, '--run', '--json'], env);
    expect(ended.code).toBe(EXIT.framework);
    expect(printedError(ended)).toMatchObject({
      code: 'CONVERTER_FAILED',
      found: '[ERROR] op type is not supported',
    });
    expect(existsSync(join(folder, 'net.om'))).toBe(false);
  });

  it('warns when the converter says success but leaves nothing', async () => {
    const ended = await convert(['net.onnx', ...SHAPE, '--run', '--json'], fakeOmg('idle', 'exit 0'));
    expect(JSON.parse(ended.out)).toMatchObject({ executed: true, result: null });
    expect(JSON.parse(ended.out).warnings.join(' ')).toContain('net.om');
  });

  it('without a converter is an error of the environment', async () => {
    const ended = await convert(['net.onnx', ...SHAPE, '--run', '--json'], { PATH: join(folder, 'run') });
    expect(ended.code).toBe(EXIT.environment);
    expect(printedError(ended).code).toBe('CONVERTER_NOT_FOUND');
  });
});
