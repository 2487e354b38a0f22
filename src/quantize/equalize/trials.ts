import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DataSource } from '../../config/data.js';
import { writeSafetensors } from '../../graph/safetensors.js';
import type { NativeCore } from '../../native/index.js';
import { type PairedGain, pairedGain } from '../algorithms/paired-gain.js';
import { type StageContext, stageJob } from '../context.js';
import type { Layer } from '../layers.js';
import { loadChannels } from '../observe.js';
import type { Prepared } from '../stages.js';
import { mayAbsorb } from './absorption.js';
import { type Candidate, OFF, quickRewrite, type Strength } from './candidate.js';
import { FIXED } from './channel-sets.js';
import type { Seen } from './problem.js';
import type { Scalable } from './scalable.js';

/** A strength that was tried, and what it gained over none. */
export interface Try extends PairedGain {
  strength: Strength;
}

/** A strength must gain so much, in dB, and so many standard errors of it; no output may lose more than `LOSS`. */
const GAIN = 0.2;
const SURE = 2;
const LOSS = 0.5;

/** Of fewer samples a mean takes too much of the error with it. */
const ENOUGH_FOR_MEANS = 8;

/** The strengths worth trying; none where nothing can be scaled. */
export function strengths({ graph }: Prepared, layers: readonly Layer[], scalable: Scalable): Strength[] {
  const { sets, channels, norms } = scalable;
  const free = (tensor: string): boolean =>
    sets.setsOf(channels.get(tensor)?.numbers ?? new Int32Array()).some((set) => set !== FIXED);
  const exponents = (any: boolean): number[] => (any ? [0, 0.5, 1] : [0]);
  const offsets = mayAbsorb({ graph, layers, channels }).length > 0 ? [false, true] : [false];
  const all = offsets.flatMap((absorb) =>
    exponents(layers.some(({ output }) => free(output))).flatMap((between) =>
      exponents(norms.some(({ output }) => free(output))).map((behind) => ({
        layers: between,
        norms: behind,
        absorb,
      })),
    ),
  );
  return all.slice(1);
}

/** Statistics a channel of everything that candidates are made of and quantized by. */
export async function observeChannels(
  context: StageContext,
  folder: string,
  { graph, plan, float }: Prepared,
  layers: readonly Layer[],
  { channels, bounds }: Scalable,
  source: DataSource,
): Promise<Seen> {
  const inputs = new Map(
    layers.map(({ name, input }) => [input, graph.node(name)!.op.startsWith('Conv') ? 1 : -1] as const),
  );
  const axisOf = (tensor: string): number =>
    channels.get(tensor)?.axis ??
    inputs.get(tensor) ??
    Math.max(0, graph.shape(tensor)?.findIndex((size) => size !== null) ?? 0);
  const names = [
    ...plan.activations.map(({ tensor }) => tensor),
    ...bounds.map(({ tensor }) => tensor),
    ...mayAbsorb({ graph, layers, channels }),
  ];
  const tensors = [...new Set(names)].map((tensor) => ({ tensor, axis: axisOf(tensor) }));
  const params = { model: float, tensors, source, out: folder, threads: context.threads };
  const { channels: path } = await stageJob(context, 'channels to equalize', 'observeChannels', params);
  return loadChannels(path);
}

/** Tries strengths on samples that made no candidate. */
export async function tryStrengths(
  context: StageContext,
  core: NativeCore,
  folder: string,
  prepared: Prepared,
  source: DataSource,
  list: readonly Strength[],
  make: (strength: Strength) => Candidate,
): Promise<Try[]> {
  if (list.length === 0) return [];
  const rewrites = [OFF, ...list].map((strength, index) => {
    const { rewrite, parameters } = quickRewrite(core, prepared, make(strength));
    const [edits, tensors] = [join(folder, `${index}.json`), join(folder, `${index}.safetensors`)];
    writeFileSync(edits, JSON.stringify(rewrite));
    writeSafetensors(tensors, parameters);
    return { rewrite: edits, parameters: tensors };
  });
  const withoutMeans =
    prepared.options.engine.biasCorrection && (source.indices?.length ?? 0) >= ENOUGH_FOR_MEANS;
  const shared = { source, withoutMeans, out: folder, threads: context.threads };
  const params = { model: prepared.float, rewrites, ...shared };
  const { signal, noise } = await stageJob(context, 'equalize', 'compareRewrites', params);
  for (const { rewrite, parameters } of rewrites) for (const path of [rewrite, parameters]) rmSync(path);
  return list.map((strength, index) => ({ strength, ...pairedGain(signal, noise[0]!, noise[index + 1]!) }));
}

/** The try that gains most, when it surely gains; null when none does. */
export function bestTry(tries: readonly Try[]): Try | null {
  const good = tries.filter(
    ({ mean, standardError, worst }) => mean >= GAIN && mean >= SURE * standardError && worst >= -LOSS,
  );
  return good.reduce<Try | null>((best, each) => (best && best.mean >= each.mean ? best : each), null);
}
