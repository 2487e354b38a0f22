import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Tensor } from 'onnxruntime-node';
import { diskError } from '../run/atomic.js';
import type { RecordedOutputs } from './recorded.js';

export type RecordedSamples = RecordedOutputs['samples'];

/** Writes what a model puts out as raw files, sample by sample; strings are left out. */
export class Recorder {
  readonly samples: RecordedSamples = [];

  constructor(private readonly folder: string) {}

  /** One sample's outputs, under the names that they shall have. */
  add(outputs: readonly (readonly [name: string, tensor: Tensor])[]): void {
    const at = this.samples.length;
    const files: RecordedSamples[number] = {};
    outputs.forEach(([name, { type, data, dims }], position) => {
      if (Array.isArray(data)) return;
      const path = join(this.folder, `${String(at).padStart(5, '0')}.${position}.raw`);
      this.write(path, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      files[name] = { path, dtype: type, shape: [...dims] };
    });
    this.samples.push(files);
  }

  private write(path: string, bytes: Uint8Array): void {
    try {
      mkdirSync(this.folder, { recursive: true });
      writeFileSync(path, bytes);
    } catch (error) {
      throw diskError(error, path);
    }
  }
}
