import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { detectFramework } from './detect.js';

let folder: string;
const file = (name: string, content: string | Buffer = 'x'): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-detect-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A zip archive as far as its head and member names go. */
const archive = (member: string): Buffer => Buffer.from(`PK\x03\x04${'\0'.repeat(26)}${member}`, 'latin1');

const detect = (
  model: string,
  weights: string | null = null,
  asked: 'auto' | 'onnx' | 'tensorflow' = 'auto',
) => detectFramework({ model, weights }, asked);

describe('detectFramework', () => {
  it.each([
    ['net.onnx', 'onnx'],
    ['NET.ONNX', 'onnx'],
    ['frozen.pb', 'tensorflow'],
    ['keras.h5', 'tensorflow'],
    ['without-extension', 'onnx'],
  ])('%s is of %s', (name, framework) => expect(detect(file(name))).toBe(framework));

  it('knows a SavedModel by the file in it, and no other folder', () => {
    const saved = join(folder, 'saved');
    mkdirSync(saved);
    expect(() => detect(saved)).toThrow(/saved_model\.pb/);
    writeFileSync(join(saved, 'saved_model.pb'), '');
    expect(detect(saved)).toBe('tensorflow');
  });

  it('takes a .py with its weights', () => {
    expect(detect(file('net.py'), file('net.pth'))).toBe('pytorch');
    expect(() => detect(file('net.py'))).toThrow(expect.objectContaining({ code: 'WEIGHTS_MISSING' }));
    expect(() => detect(file('net.py'), join(folder, 'none.pth'))).toThrow(
      expect.objectContaining({ code: 'WEIGHTS_NOT_FOUND' }),
    );
  });

  it('tells TorchScript from weights by what the archive holds', () => {
    expect(detect(file('script.pt', archive('script/code/__torch__.py')))).toBe('pytorch');
    for (const weights of [file('w.pt', archive('w/data.pkl')), file('old.pth', '\x80\x02')]) {
      expect(() => detect(weights)).toThrow(
        expect.objectContaining({
          code: 'MODEL_FORMAT',
          suggestions: [expect.stringContaining('--weights')],
        }),
      );
    }
  });

  it.each(['net.tflite', 'net.om', 'net.caffemodel', 'net.safetensors'])(
    'says what %s is, and the way out',
    (name) => {
      const path = file(name);
      expect(() => detect(path)).toThrow(expect.objectContaining({ code: 'MODEL_FORMAT', place: path }));
    },
  );

  it('refuses what contradicts itself', () => {
    const graph = file('frozen.pb');
    expect(() => detect(graph, null, 'onnx')).toThrow(
      expect.objectContaining({ code: 'FRAMEWORK_MISMATCH' }),
    );
    expect(() => detect(graph, file('w.pth'))).toThrow(expect.objectContaining({ code: 'WEIGHTS_UNUSED' }));
    expect(detect(file('unnamed'), null, 'tensorflow')).toBe('tensorflow');
    expect(() => detect(join(folder, 'none.onnx'))).toThrow(
      expect.objectContaining({ code: 'MODEL_NOT_FOUND' }),
    );
  });
});
