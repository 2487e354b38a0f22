import { join } from 'node:path';
import type { Result } from '../bridge/protocol.js';
import type { PrecisionSearch } from '../config/precision.js';
import type { Equalization, RunResult, SampleSet } from '../config/result.js';
import type { Statistics } from '../config/statistics.js';
import type { Tuning } from '../config/tuning.js';
import type { DoorResult, Verification } from '../config/verification.js';
import type { Door } from '../doors/convert.js';
import type { NativeCore } from '../native/index.js';
import { predictedCost } from '../precision/cost.js';
import { VERSION } from '../version.js';
import type { StageContext } from './context.js';
import { areTwoFiles, type ChosenSamples, type SampleSets } from './data.js';
import { switchedOff, switchedOn } from './engine.js';
import type { QuantizeOptions } from './options.js';
import type { Prepared } from './stages.js';

/** Everything a finished run knows. */
export interface RunFacts {
  options: QuantizeOptions;
  context: StageContext;
  core: NativeCore;
  capture: Result<'capture'>;
  door: Door | null;
  doorResult: DoorResult | null;
  prepared: Prepared;
  equalization: Equalization | null;
  sets: SampleSets;
  statistics: Statistics;
  verified: { verification: Verification; skipped: SampleSet['skipped'] } | null;
  search: PrecisionSearch | null;
  tuning: Tuning | null;
  quantizedBytes: number;
  seconds: number;
  command: readonly string[];
  files: RunResult['files'];
}

/** result.json of a run. */
export function assembleResult(facts: RunFacts): RunResult {
  const { options, context, capture, door, sets, statistics, verified, prepared, files } = facts;
  const { plan, graph } = prepared;
  const { parity } = capture;
  const source = door?.conversion.source ?? capture.source;
  const { calibration, verification } = sets;
  return {
    version: 1,
    dopt: VERSION,
    model: {
      name: facts.prepared.name,
      source,
      opset: capture.opset,
      nodes: graph.nodes.length,
      notes: capture.notes,
      parity: {
        executor: parity.executor,
        samples: parity.samples,
        maxAbsoluteDifference: parity.maxAbsoluteDifference,
        maxRelativeDifference: parity.maxRelativeDifference,
      },
    },
    settings: {
      strategy: options.strategy,
      target: options.target,
      weightsGranularity: options.weightsGranularity,
      calibration: options.calibration,
      effort: options.effort,
      without: switchedOff(options.engine, options.effort),
      with: switchedOn(options.engine, options.effort),
      recipe: options.recipe,
      exclude: options.exclude,
      precision: {
        int16: [...(options.precision?.int16 ?? [])],
        float: [...(options.precision?.float ?? [])],
      },
      seed: options.seed,
    },
    data: {
      calibration: sampleSet(options.data, calibration, statistics.samples, statistics.skipped),
      verification:
        verification && verified
          ? sampleSet(
              options.verifyData ?? options.data,
              verification,
              verified.verification.samples,
              verified.skipped,
            )
          : null,
      disjoint: disjoint(sets),
    },
    quantization: {
      activations: plan.activations.length,
      int16: plan.activations.filter(({ format }) => format.bits === 16).length,
      weights: plan.weights.length,
      equalization: facts.equalization,
      floatNodes: plan.floatNodes,
    },
    sizes: { float: source.bytes, quantized: facts.quantizedBytes },
    verification: verified?.verification ?? null,
    precision: facts.search,
    predicted: predictedCost(graph, plan, options.target),
    tuning: facts.tuning,
    door: facts.doorResult,
    stages: context.run.stages,
    seconds: facts.seconds,
    peakBytes: Math.max(
      process.resourceUsage().maxRSS * 1024,
      ...context.run.stages.map(({ peakBytes }) => peakBytes ?? 0),
    ),
    warnings: context.warnings,
    command: [...facts.command],
    versions: versions(context, facts.core),
    files,
  };
}

/** Whether no scored sample calibrated: by index within one source, by name and bytes between two. */
function disjoint({ calibration, verification }: SampleSets): boolean {
  const names = ({ source, listing }: ChosenSamples): string[] =>
    (source.indices ?? []).map((index) => listing.names[index]!);
  const used = new Set(names(calibration));
  if (verification === null) return true;
  const [data, scored] = [calibration.source.path, verification.source.path];
  return names(verification).every(
    (name) => !used.has(name) || areTwoFiles(join(data, name), join(scored, name)),
  );
}

function sampleSet(
  path: string,
  { listing }: ChosenSamples,
  samples: number,
  skipped: SampleSet['skipped'],
): SampleSet {
  return { path, sha256: listing.sha256, samples, skipped };
}

function versions({ environment }: StageContext, core: NativeCore): Record<string, string> {
  const { python = '', onnx = '', onnxruntime = '', numpy = '' } = environment.versions;
  return {
    node: process.version,
    python,
    onnx,
    onnxruntime,
    numpy,
    native: core.backend,
    environment: environment.how,
  };
}
