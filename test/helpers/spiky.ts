import { join } from 'node:path';
import { execa } from 'execa';
import { ensureEnvironment } from '../../src/bridge/environments.js';
import { ROOT } from './cli.js';

/** Writes the network of test/fixtures/spiky_model.py with its samples and labels. */
export async function spikyModel(folder: string): Promise<{ model: string; data: string; labels: string }> {
  const { python } = await ensureEnvironment('onnx', 'venv', { onProgress: () => {} });
  await execa(python, [join(ROOT, 'test/fixtures/spiky_model.py'), folder]);
  return {
    model: join(folder, 'spiky.onnx'),
    data: join(folder, 'data'),
    labels: join(folder, 'labels.txt'),
  };
}
