import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { dtypeSchema } from '../config/common.js';
import type { GraphValue } from '../config/graph.js';
import type { Verification } from '../config/verification.js';
import { EXIT, ExternalError, UserError } from '../errors.js';
import type { RawTensor } from './tensors.js';

export type Optimization = Verification['evaluator']['optimization'];

/** An ONNX model that can be run on samples. */
export interface Model {
  readonly path: string;
  readonly inputs: readonly string[];
  /** Types of the inputs; symbolic and unknown dimensions are names. */
  readonly inputTypes: GraphValue[];
  readonly outputs: readonly string[];
  /** Seconds spent in `run` so far. */
  readonly seconds: number;
  /**
   * Runs one sample; inputs that the model does not have are passed over.
   * @param outputs names of the wanted outputs
   * @param index position of the sample, which recorded outputs go by
   * @throws ExternalError VERIFY_RUN with onnxruntime's message
   */
  run(
    feeds: ReadonlyMap<string, RawTensor>,
    outputs: readonly string[],
    index: number,
  ): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}

/** Version of the onnxruntime that evaluates. */
export async function evaluatorVersion(): Promise<string> {
  const { env } = await import('onnxruntime-node');
  return env.versions.node ?? env.versions.common;
}

/**
 * Loads a model into onnxruntime.
 * @throws UserError MODEL_LOAD when onnxruntime refuses the file
 */
export async function loadModel(path: string, optimization: Optimization, threads: number): Promise<Model> {
  const ort = await import('onnxruntime-node');
  let session: InferenceSession;
  try {
    session = await ort.InferenceSession.create(path, {
      graphOptimizationLevel: optimization,
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      // Errors only: warnings about unused initializers and the like are not about the comparison.
      logSeverityLevel: 3,
    });
  } catch (error) {
    throw new UserError('MODEL_LOAD', `onnxruntime cannot load ${path}: ${(error as Error).message}`, {
      place: path,
      cause: error,
      suggestions: ['Check that the file is a complete ONNX model and that its external data lie beside it.'],
    });
  }
  let seconds = 0;
  return {
    path,
    inputs: session.inputNames,
    inputTypes: session.inputMetadata.map(graphValue),
    outputs: session.outputNames,
    get seconds() {
      return seconds;
    },
    async run(feeds, outputs) {
      const tensors = Object.fromEntries(
        [...feeds]
          .filter(([name]) => session.inputNames.includes(name))
          .map(([name, { dtype, data, shape }]) => [
            name,
            new ort.Tensor(dtype as 'float32', data as Float32Array, shape),
          ]),
      );
      const start = performance.now();
      try {
        return await session.run(tensors, outputs);
      } catch (error) {
        throw runError(path, error as Error, feeds);
      } finally {
        seconds += (performance.now() - start) / 1000;
      }
    },
    release: () => session.release(),
  };
}

function graphValue(metadata: InferenceSession.ValueMetadata): GraphValue {
  const { name } = metadata;
  if (!metadata.isTensor) return { name, dtype: 'unknown', shape: null };
  const dtype = dtypeSchema.safeParse(metadata.type);
  return {
    name,
    dtype: dtype.data ?? 'unknown',
    shape: metadata.shape.map((dim) => (dim === -1 ? null : dim)),
  };
}

function runError(path: string, error: Error, feeds: ReadonlyMap<string, RawTensor>): ExternalError {
  const found = [...feeds]
    .map(([name, { dtype, shape }]) => `${name}: ${dtype} [${shape.join(', ')}]`)
    .join('; ');
  return new ExternalError('VERIFY_RUN', `onnxruntime cannot run ${path}: ${error.message}`, {
    place: path,
    found,
    cause: error,
    exitCode: EXIT.verification,
    suggestions: ['Check that the samples fit the inputs of the model: `dopt inspect` lists them.'],
  });
}
