import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureEnvironment } from '../src/bridge/environments.js';
import { preprocessFrom } from '../src/cli/flags.js';
import { silentProgress } from '../src/cli/progress.js';
import { listRecipes, loadRecipe } from '../src/config/recipe.js';
import type { Comparison, RunResult } from '../src/config/result.js';

import { dopt, ROOT } from './helpers/cli.js';
import { python } from './helpers/exports.js';

let folder: string;
let verified: Map<string, Comparison | Error>;

const families = (): string[] => readdirSync(folder).filter((name) => !name.endsWith('.run'));
const files = (name: string): { model: string; data: string; labels: string } => {
  const labels = readdirSync(join(folder, name)).find((file) => file.startsWith('labels'))!;
  return {
    model: join(folder, name, 'net.onnx'),
    data: join(folder, name, 'data'),
    labels: join(folder, name, labels),
  };
};

/**
 * A network against itself by its recipe: pictures become its input, its outputs and the labels become a score. What
 * `dopt verify` calls, as built; starting the command for each of them would take half of the time.
 */
async function verifyByRecipe(name: string): Promise<Comparison> {
  const built = join(ROOT, 'dist/verify/compare.js');
  const { compareModels } = (await import(built)) as typeof import('../src/verify/compare.js');
  const { model, data, labels } = files(name);
  const { preprocess, metric } = await loadRecipe(name);
  return compareModels(
    {
      float: model,
      quantized: model,
      data,
      preprocess: preprocessFrom({}, preprocess),
      labels,
      metric: metric ?? null,
      samples: null,
      seed: 0,
      skipBad: false,
      optimization: 'disabled',
      threads: 1,
      environment: 'venv',
    },
    { progress: silentProgress, signal: new AbortController().signal },
  );
}

beforeAll(async () => {
  await ensureEnvironment('onnx', 'venv', { onProgress: () => {} });
  folder = mkdtempSync(join(tmpdir(), 'dopt-recipes-'));
  await python([join(ROOT, 'test/fixtures/recipe_models.py'), folder]);
  const waiting = families();
  verified = new Map();
  const work = async (): Promise<void> => {
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      verified.set(name, await verifyByRecipe(name).catch((error: Error) => error));
    }
  };
  await Promise.all([work(), work()]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('recipes with a tiny network of their family', () => {
  it('are all tried', async () => {
    const names = (await listRecipes()).map(({ recipe }) => recipe.name);
    expect(families().sort()).toEqual(names.sort());
  });

  it('prepare its samples and score its outputs', async () => {
    for (const [name, compared] of verified) {
      if (compared instanceof Error) throw new Error(`${name}: ${compared.message}`, { cause: compared });
      const { task, outputs, samples } = compared.verification;
      const { metric } = await loadRecipe(name);
      expect(task, name).toMatchObject({ kind: metric!.kind, against: 'labels', samples: 3 });
      expect(task!.scores.length, name).toBeGreaterThan(0);
      expect(outputs.every(({ similarity }) => similarity.sqnr === 'Infinity')).toBe(true);
      expect(samples).toBe(3);
    }
  });

  // Two heads that the engine's own tests do not have: eight outputs of a detector, and two inputs of integers.
  it.for(['picodet', 'bert'])('%s: quantizes', async (name) => {
    const { model, data, labels } = files(name);
    const out = join(folder, `${name}.run`);
    const scored = ['--verify-data', data, '--labels', labels, '--effort', 'fast'];
    const ended = await dopt([
      ...['quantize', model, '--data', data, '--recipe', name],
      ...[...scored, '--out', out, '--json'],
    ]);
    expect(ended.code, ended.out + ended.err).toBe(0);
    const { quantization, verification } = JSON.parse(ended.out) as RunResult;
    expect(quantization.weights).toBeGreaterThan(4);
    for (const { similarity } of verification!.outputs) expect(Number(similarity.sqnr)).toBeGreaterThan(15);
  });
});

describe('metrics/ctc.py', () => {
  it('reads lines as CTC does', async () => {
    const program = `
import sys, numpy as np
sys.path.insert(0, ${JSON.stringify(join(ROOT, 'recipes/metrics'))})
import ctc
steps = np.eye(5)[[0, 1, 1, 0, 1, 2, 0]]
print(ctc.evaluate([steps[None], steps[:, None]], ["1 1 2", "1 2"]))
ctc.DICTIONARY = sys.argv[1]
print(ctc.evaluate([np.eye(5)[[3, 0, 4]][None]], ["b "]))`;
    writeFileSync(join(folder, 'dictionary.txt'), 'x\na\nb\n');
    const out = await python(['-B', '-c', program, join(folder, 'dictionary.txt')]);
    rmSync(join(folder, 'dictionary.txt'));
    expect(out).toBe("{'lines': 50.0, 'characters': 80.0}\n{'lines': 100.0, 'characters': 100.0}\n");
  });
});
