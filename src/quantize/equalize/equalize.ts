import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { deviceKey } from '../../bridge/device.js';
import type { Equalization } from '../../config/result.js';
import { SafetensorsFile, writeSafetensors } from '../../graph/safetensors.js';
import type { NativeCore } from '../../native/index.js';
import { digestOf } from '../../run/digest.js';
import { type StageContext, stageJob } from '../context.js';
import { collectLayers } from '../layers.js';
import type { OpenedModel } from '../open.js';
import { walkIndices } from '../walk-samples.js';
import { candidates } from './candidate.js';
import { scalableChannels } from './scalable.js';
import { bestTry, observeChannels, strengths, type Try, tryStrengths } from './trials.js';
import { equalizationWords } from './words.js';

/** Every so many-th sample judges candidates and makes none. */
const HELD_BACK = 4;

/**
 * Scales channels of the float model against each other before it is calibrated, as far as that gains on samples held
 * back. The graph stays what it is; float.onnx and weights.safetensors of the stage take the place of the captured ones.
 */
export async function equalize(
  context: StageContext,
  core: NativeCore,
  opened: OpenedModel,
): Promise<OpenedModel> {
  const { prepared, door, sets } = opened;
  const { graph, plan, options } = prepared;
  if (!options.engine.equalization) return opened;
  // What a layer divides another one multiplies: both have to go back into the framework's file, or none.
  const computed = new Set(door?.conversion.computedWeights);
  const layers = collectLayers(graph.file, plan, SafetensorsFile.open(prepared.weights)).filter(
    (layer) => !computed.has(layer.plan.tensor),
  );
  // A network goes back into its framework layer by layer: gains of normalizations have no place there.
  const scalable = scalableChannels(graph, plan, layers, door === null);
  const list = strengths(prepared, layers, scalable);
  if (list.length === 0) return opened;

  const { source, listing } = sets.calibration;
  const indices = walkIndices(graph, source.indices!);
  const [making, judging] = divided(indices).map((chosen) => ({ ...source, indices: chosen }));
  const { captured } = prepared;
  const key = {
    captured,
    plan,
    list,
    data: listing.sha256,
    source: { ...source, path: '', indices },
    ...deviceKey(context.device),
  };
  const { value, digest } = await context.run.stage('equalize', key, async (folder) => {
    const seen = await observeChannels(context, folder, prepared, layers, scalable, making!);
    const { make, absorbs } = candidates(prepared, layers, scalable, seen);
    const worthwhile = list.filter(({ absorb }) => absorbs || !absorb);
    const tries = await tryStrengths(context, core, folder, prepared, judging!, worthwhile, make);
    const best = bestTry(tries);
    if (best) {
      const { float: model, weights } = prepared;
      const changes = join(folder, 'changes.safetensors');
      writeSafetensors(changes, make(best.strength).changed);
      await stageJob(context, 'write float model', 'reweight', { model, weights, changes, out: folder });
      rmSync(changes);
    }
    return { tries, best };
  });
  const { best, tries } = value;
  const equalization = best && asResult(best);
  context.progress.note(
    `equalize: ${equalization ? equalizationWords(equalization) : `none of ${tries.length} ways gains on samples kept back`}`,
  );
  if (!equalization) return opened;
  const stage = context.run.stageFolder('equalize');
  return {
    ...opened,
    equalization,
    prepared: {
      ...prepared,
      float: join(stage, 'float.onnx'),
      weights: join(stage, 'weights.safetensors'),
      captured: digestOf({ captured, equalized: digest }),
    },
  };
}

const asResult = ({ strength, mean, standardError }: Try): Equalization => ({
  layers: strength.layers,
  norms: strength.norms,
  offsets: strength.absorb,
  gain: mean,
  standardError,
});

/** Samples that make candidates, and those that judge them: the same ones where there are few. */
function divided(indices: readonly number[]): [number[], number[]] {
  if (indices.length < 2 * HELD_BACK) return [[...indices], [...indices]];
  const judges = (at: number): boolean => at % HELD_BACK === HELD_BACK - 1;
  return [indices.filter((_, at) => !judges(at)), indices.filter((_, at) => judges(at))];
}
