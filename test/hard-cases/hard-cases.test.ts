import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureEnvironment } from '../../src/bridge/environments.js';
import { toNumber } from '../../src/config/common.js';
import { resultSchema } from '../../src/config/result.js';
import { dopt, ROOT } from '../helpers/cli.js';

/** What cures each network of networks.py, and on which target it is ill. */
const CASES = [
  ['outlier_channel', 'equalization', 'kirin9020'],
  ['shifted_bias', 'equalization', 'kirin9020'],
  ['dead_channel', 'equalization', 'kirin9020'],
  ['unlike_concat', 'concat-ties', 'generic-npu'],
  ['silu_tail', 'fused-activations', 'generic-npu'],
  ['se_gate', 'equalization', 'kirin9020'],
  ['sink_token', 'equalization', 'kirin9020'],
  ['depthwise_spread', 'channel-scales', 'kirin9020'],
  ['unlike_residual', 'equalization', 'generic-npu'],
  ['shared_weights', 'equalization', 'kirin9020'],
] as const;

/** In dB at the worst output: what a cured network reaches, and what the cure is worth at least. */
const HEALTHY = 25;
const CURE = 10;

/** Layers are not refined: what that mends in networks of this size is not what the cases are about. */
const PLAIN = ['refine-ranges', 'reconstruction', 'bias-correction'];

let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'dopt-hard-'));
  const { python } = await ensureEnvironment('onnx', 'venv', { onProgress: () => {} });
  await execa(python, [join(ROOT, 'test/hard-cases/networks.py'), folder]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Signal over noise at the worst output of a network, quantized without some algorithms. */
async function quantized(name: string, target: string, without: readonly string[]): Promise<number> {
  const place = join(folder, name);
  const off = [...PLAIN, ...without].flatMap((algorithm) => ['--without', algorithm]);
  const out = join(place, without.join() || 'whole');
  const paths = [join(place, 'model.onnx'), '--data', join(place, 'data'), '--out', out];
  const ended = await dopt(['quantize', ...paths, '--target', target, '--json', ...off]);
  expect(ended.code, ended.err + ended.out).toBe(0);
  const { verification } = resultSchema.parse(JSON.parse(ended.out));
  return Math.min(...verification!.outputs.map(({ similarity }) => toNumber(similarity.sqnr)));
}

describe('what plain 8 bits destroy', () => {
  it.each(CASES)('%s: %s cures it', async (name, algorithm, target) => {
    const [cured, ill] = await Promise.all([
      quantized(name, target, []),
      quantized(name, target, [algorithm]),
    ]);
    console.info(`${name}: ${ill.toFixed(1)} dB without ${algorithm}, ${cured.toFixed(1)} dB with it`);
    expect(cured).toBeGreaterThan(HEALTHY);
    expect(cured - ill).toBeGreaterThan(CURE);
  });
});
