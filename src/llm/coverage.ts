import type { LlmCoverage } from '../config/llm-result.js';
import { bitsOf, meanBits } from './bits-budget.js';
import { type CalibrationSize, estimateSeconds } from './estimate.js';
import type { LayerPlan, LlmInspection } from './layer-plan.js';
import { type MemoryOptions, promiseMemory } from './memory.js';

/** What becomes of every layer, what it takes, and how much of the model is covered. Pure. */
export function coverage(
  model: LlmInspection,
  plan: LayerPlan,
  size: CalibrationSize,
  options: MemoryOptions,
): LlmCoverage {
  const strategies = new Map(plan.linears.map((one) => [one.name, one]));
  const reasons = new Map(plan.float.map(({ name, reason }) => [name, reason]));
  const tokens = size.samples * size.length;
  const layers = model.linears.map((linear) => {
    const strategy = strategies.get(linear.name);
    const weights = linear.shape[0]! * linear.shape[1]!;
    return {
      name: linear.name,
      block: linear.block,
      shape: [linear.shape[0]!, linear.shape[1]!] as [number, number],
      bits: strategy?.bits ?? null,
      groupSize: strategy?.groupSize ?? null,
      strategy: strategy?.strategy ?? 'float',
      reason: strategy ? null : (reasons.get(linear.name) ?? null),
      bytes: strategy ? Math.ceil(bitsOf(linear, strategy) / 8) : 2 * weights,
      seconds: strategy ? estimateSeconds(linear.shape, tokens, options.effort, options.threads) : 0,
    };
  });
  const [vocabulary, hidden] = model.embedding.shape as [number, number];
  const embeddingBytes =
    vocabulary * hidden * (plan.embeddingBits === 8 ? 1 : 2) + (plan.embeddingBits ? 2 * vocabulary : 0);
  const matrices = [
    ...model.linears.filter(({ block }) => block !== null),
    ...model.uncovered.map(({ name, shape }) => ({ name, shape })),
  ];
  const count = (shapes: readonly { shape: readonly number[] }[]): number =>
    shapes.reduce((sum, { shape }) => sum + shape.reduce((product, extent) => product * extent, 1), 0);
  const all = count(matrices);
  return {
    layers,
    embedding: {
      name: model.embedding.name,
      shape: [vocabulary, hidden],
      bits: plan.embeddingBits,
      bytes: embeddingBytes,
    },
    uncovered: plan.float.filter(({ name }) => !model.linears.some((linear) => linear.name === name)),
    covered: all === 0 ? 1 : count(matrices.filter(({ name }) => strategies.has(name))) / all,
    meanBits: meanBits(
      model.linears.filter(({ block }) => block !== null),
      strategies,
    ),
    bytes: layers.reduce((sum, layer) => sum + layer.bytes, 0) + embeddingBytes,
    floatBytes: 2 * model.parameters,
    seconds: layers.reduce((sum, layer) => sum + layer.seconds, 0),
    memory: promiseMemory(model, plan, size, options),
    calibration: size,
  };
}
