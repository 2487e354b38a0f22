import type { Preprocess } from '../config/data.js';
import type { Metric } from '../config/metric.js';
import type { Verification } from '../config/verification.js';
import type { Labels } from './labels.js';
import type { RecordedOutputs } from './recorded.js';
import type { RecordedSamples } from './recorder.js';
import type { Optimization } from './session.js';
import type { MaterializedSample } from './tensors.js';

/** What to compare; plain data, so that it can be sent to a worker. */
export interface VerifyRequest {
  /** Paths of the two ONNX files, or what another program computed. */
  float: string | RecordedOutputs;
  quantized: string | RecordedOutputs;
  samples: MaterializedSample[];
  /** Comparison of inner tensors, on models that have them as outputs; null leaves it out. */
  tensors: TensorRequest | null;
  metric: Metric | null;
  labels: Labels | null;
  /** How pictures became samples: boxes are mapped back by it. Only detection needs it. */
  preprocess: Preprocess | null;
  /** Folders to write the outputs of both models to, for a metric that is run elsewhere; null writes none. */
  record: { float: string; quantized: string } | null;
  optimization: Optimization;
  threads: number;
}

/** What each sample has of the sums behind the SQNR of an output: by sample and output, 0 where nothing was compared. */
export interface SampleEnergies {
  signal: number[][];
  noise: number[][];
}

/** What was found, and where outputs were written to. */
export interface Evaluation {
  verification: Verification;
  energies: SampleEnergies;
  recorded: { float: RecordedSamples; quantized: RecordedSamples } | null;
}

export interface TensorRequest {
  float: string;
  quantized: string;
  /** Report name, and the output's name in each of the two files. */
  pairs: { name: string; float: string; quantized: string }[];
  /** Only the first so many samples. */
  samples: number;
}

/** Called after each sample. */
export type Progress = (done: number, total: number, message: string) => void;
