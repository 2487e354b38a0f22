import type { RunResult } from '../config/result.js';
import type { OpenOptions } from './open.js';

export interface RetrainOptions extends Omit<OpenOptions, 'work'> {
  /** Folder of the search's results. */
  out: string;
  /** N of model_arch_result_N.py. */
  number: number;
  /** Those of the scenario where null. */
  epochs: number | null;
  /** Whether the trained network is quantized too. */
  quantize: boolean;
  /** Command line for the manifest of that run. */
  command: readonly string[];
}

export interface Retrained {
  version: 1;
  number: number;
  epochs: number;
  /** What the metric says of the network now, and what the search had said of it. */
  score: number;
  searchScore: number;
  folder: string;
  /** What was trained: ONNX or .pb, and the weights alone. */
  model: string;
  weights: string;
  input: string;
  calibration: string;
  validation: string;
  labels: string | null;
  /** The run folder of its quantization, and the metric before and after. */
  quantized: QuantizedNetwork | null;
}

export interface QuantizedNetwork {
  /** Run folder: models, parameters, report. */
  run: string;
  result: RunResult;
}
