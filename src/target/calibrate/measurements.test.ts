import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readMeasurements } from './measurements.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-measurements-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const file = (text: string, name = 'times.csv'): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

describe('measurements', () => {
  it('are read from a table of models', async () => {
    const rows = await readMeasurements(
      file('model,dtype,ms,use\nzoo:vgg16,fp16,16.5,\nnet.onnx,w8a8,2,show\n'),
      null,
    );
    expect(rows.map(({ place, ...row }) => [row, place.split('/').at(-1)])).toEqual([
      [{ model: 'zoo:vgg16', precision: 'fp16', seconds: 0.0165, shown: false }, 'times.csv:2'],
      [{ model: 'net.onnx', precision: 'int8', seconds: 0.002, shown: true }, 'times.csv:3'],
    ]);
    const plain = await readMeasurements(file('ms,model\n3,a\n'), 'int16');
    expect(plain[0]).toMatchObject({ model: 'a', precision: 'int16', seconds: 0.003 });
  });

  it('are read from a summary of Vela', async () => {
    const [row] = await readMeasurements(
      file(
        'experiment,network,core_clock,inference_time,cycles_total\ndefault,mobilenet-v1,5e8,0.0162,8082490\n',
      ),
      null,
    );
    expect(row).toMatchObject({ model: 'mobilenet-v1', precision: 'int8', seconds: 0.0162 });
  });

  it('are summed over operators of the CANN profiler', async () => {
    const text = 'Op Name,OP Type,Task Duration(us)\nconv1,Conv2D,120.5\nadd,Add,0\nfc,"MatMul",29.5\n';
    const [row] = await readMeasurements(file(text, 'resnet50.csv'), 'fp16');
    expect(row).toMatchObject({ model: 'resnet50', precision: 'fp16', seconds: 150e-6 });
    await expect(readMeasurements(file(text, 'resnet50.csv'), null)).rejects.toThrow(/--dtype|does not say/);
  });

  it.for<[string, string, string]>([
    ['model,dtype,ms\nnet,fp16,fast\n', ':2:10', 'ms'],
    ['model,dtype,ms\nnet,fp16,-1\n', ':2:10', 'ms'],
    ['model,dtype,ms\nnet,fp17,1\n', ':2:5', 'dtype'],
    ['model,dtype,ms\n,fp16,1\n', ':2:1', 'model'],
    ['model,dtype,ms,use\nnet,fp16,1,maybe\n', ':2:12', 'use'],
    ['model,dtype,msec\nnet,fp16,1\n', ':1:1', 'lacks the column ms'],
    ['model,dtype,ms\n', ':1:1', 'holds no measurement'],
    ['network,inference_time\nnet,0\n', ':2:5', 'inference_time'],
  ])('are refused: %j', async ([text, place, message]) => {
    const path = file(text);
    await expect(readMeasurements(path, null)).rejects.toMatchObject({
      code: 'MEASUREMENTS_INVALID',
      place: `${path}${place}`,
      message: expect.stringContaining(message),
    });
  });
});
