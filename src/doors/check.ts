import { join } from 'node:path';
import type { Result } from '../bridge/protocol.js';
import type { DataSource } from '../config/data.js';
import type { Metric } from '../config/metric.js';
import type { DoorResult } from '../config/verification.js';
import { metricJob, type StageContext, stageJob } from '../quantize/context.js';
import type { Labels } from '../verify/labels.js';
import type { RecordedOutputs } from '../verify/recorded.js';
import type { MaterializedSample } from '../verify/tensors.js';
import { verifyModels } from '../verify/verify.js';
import { type Door, inFramework } from './convert.js';

export interface CheckRequest {
  door: Door;
  /** The written-back file that quantizes activations. */
  written: string;
  /** The quantized ONNX model. */
  quantized: string;
  source: DataSource;
  metric: Metric | null;
  /** Reads the labels of samples. */
  labelsOf: (samples: readonly MaterializedSample[]) => Promise<Labels | null>;
}

type FrameworkRun = Result<'runFramework'>['runs'][number];

/**
 * Runs the float and the written-back model in their own framework over the scored samples, and the quantized ONNX model
 * in onnxruntime: what the user's framework says of the quantization, and whether both tell the same.
 */
export async function checkStage(
  context: StageContext,
  request: CheckRequest,
  key: unknown,
): Promise<NonNullable<DoorResult['check']>> {
  const { door, written, quantized, source, metric } = request;
  const { value } = await context.run.stage('check-framework', key, async (folder) => {
    const { samples } = await stageJob(context, 'read scored samples', 'materialize', {
      source,
      out: join(folder, 'samples'),
    });
    const { runs } = await stageJob(
      inFramework(context, door),
      `run both in ${door.framework}`,
      'runFramework',
      {
        models: [door.model, writtenModel(door, written)],
        borders: door.borders,
        source,
        out: join(folder, 'outputs'),
      },
      (answer) => answer.runs.map(({ seconds }) => `${seconds.toFixed(1)} s`).join(', '),
    );
    const [float, back] = runs as [FrameworkRun, FrameworkRun];
    const recorded = (name: string, result: FrameworkRun): RecordedOutputs => ({
      name,
      samples: result.samples.map(({ tensors }) => tensors),
    });
    const common = {
      samples,
      tensors: null,
      preprocess: source.preprocess,
      optimization: 'disabled' as const,
      threads: context.threads,
      ...(context.signal ? { signal: context.signal } : {}),
    };
    const quantizedOutputs = recorded(written, back);
    const end = await verifyModels({
      ...common,
      float: recorded(door.model.model, float),
      quantized: quantizedOutputs,
      metric,
      labels: await request.labelsOf(samples),
      userMetric: { run: metricJob(inFramework(context, door)), folder },
    });
    const against = await verifyModels({
      ...common,
      float: quantized,
      quantized: quantizedOutputs,
      metric: null,
      labels: null,
    });
    return {
      executor: back.executor,
      samples: samples.length,
      task: end.task,
      outputs: end.outputs,
      againstOnnx: against.outputs,
    };
  });
  return value;
}

/** The model with its written-back part: another graph, or other weights for the same class. */
const writtenModel = ({ framework, model }: Door, written: string): Door['model'] =>
  framework === 'pytorch' && model.weights !== null
    ? { ...model, weights: written }
    : { ...model, model: written };
