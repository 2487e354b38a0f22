/**
 * Memory of quantizing a large language model beside what the plan promised: the section of docs/benchmarks.md.
 *
 *   npm run bench:llm-memory -- [--blocks 22] [--width 2048] [--inner 5632] [--heads 32] [--vocabulary 32000]
 *     [--samples 8] [--length 256] [--effort balanced] [--threads N] [--memory 8G] [--work DIR]
 *
 * Weights are random, 1.1 billion of them by default. A block is freed before the next one is read, so two of them already need
 * what 22 do, in an eleventh of the time. Uses the built command (npm run build).
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { ensureEnvironment } from '../../src/bridge/environments.js';
import type { LlmResult } from '../../src/config/llm-result.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const string = { type: 'string' } as const;
const { values } = parseArgs({
  options: {
    ...{ width: string, inner: string, heads: string, vocabulary: string, threads: string, memory: string },
    blocks: { ...string, default: '22' },
    samples: { ...string, default: '8' },
    length: { ...string, default: '256' },
    effort: { ...string, default: 'balanced' },
    work: { ...string, default: join(ROOT, 'runs/bench-llm-memory') },
  },
});
const given = (['blocks', 'width', 'inner', 'heads', 'vocabulary'] as const).flatMap((name) =>
  values[name] === undefined ? [] : [`--${name}`, values[name]],
);
const folder = resolve(values.work);
const [model, out] = [join(folder, `model${given.join('').replaceAll('--', '-')}`), join(folder, 'run')];

const { python } = await ensureEnvironment('current');
if (!existsSync(join(model, 'tokens.npy')))
  await execa(python, [join(ROOT, 'python/bench/llm_random.py'), model, ...given], { stdio: 'inherit' });
rmSync(out, { recursive: true, force: true });
await execa(
  process.execPath,
  [
    ...[
      join(ROOT, 'bin/run.js'),
      'llm',
      'quantize',
      model,
      '--data',
      join(model, 'tokens.npy'),
      '--no-verify',
    ],
    ...[
      '--samples',
      values.samples,
      '--length',
      values.length,
      '--effort',
      values.effort,
      '--rotate',
      'never',
    ],
    ...['--profile', 'current', '--out', out],
    ...(['memory', 'threads'] as const).flatMap((name) =>
      values[name] === undefined ? [] : [`--${name}`, values[name]],
    ),
  ],
  { stdio: 'inherit' },
);

const {
  memory,
  coverage,
  model: found,
} = JSON.parse(readFileSync(join(out, 'result.json'), 'utf8')) as LlmResult;
const { base, weights, gram, states } = coverage.memory;
/** What a block takes at the least: 1.5 times its weights in float32, sums over its widest input, states of both models. */
const block = coverage.layers.filter((layer) => layer.block === 0).map(({ shape }) => shape);
const [inputs, hidden] = [Math.max(...block.map(([, columns]) => columns)), coverage.embedding.shape[1]];
const squares = values.effort === 'fast' ? 1 : 2;
const least = {
  blocks: 1.5 * 4 * block.reduce((sum, [rows, columns]) => sum + rows * columns, 0),
  gram: 8 * squares * inputs ** 2,
  states: 4 * 2 * Number(values.samples) * Number(values.length) * hidden,
};
const outside = base + 4 * 2 * coverage.embedding.shape[0] * hidden;
const gb = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
console.log(
  [
    `${(found.parameters / 1e6).toFixed(0)} million weights, ${values.samples} samples of ${values.length} tokens`,
    `promised ${gb(memory.promised)}: program ${gb(base)}, weights ${gb(weights)}, Gram matrices ${gb(gram)}, states ${gb(states)}`,
    `peak ${gb(memory.peak)}, ${((100 * memory.peak) / memory.promised).toFixed(1)} % of it`,
    `of it ${gb(memory.peak - outside)} beside the program, embedding and head; 1.5 blocks are ${gb(least.blocks)}, ${squares} Gram matrices ${gb(least.gram)}, states ${gb(least.states)}`,
  ].join('\n'),
);
