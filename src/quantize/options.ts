import type { EnvironmentKind, TorchProfile } from '../bridge/profiles.js';
import type { DataPart, Preprocess } from '../config/data.js';
import type { Metric } from '../config/metric.js';
import type { Goal } from '../config/precision.js';
import type { Framework } from '../doors/detect.js';
import type { Calibration } from './algorithms/ranges.js';
import type { Effort } from './effort.js';
import type { Algorithm, Engine } from './engine.js';
import type { Precision } from './plan/precision.js';

/** Widths of activations and weights. */
export const STRATEGIES = ['int8-8', 'int16-8'] as const;
export type Strategy = (typeof STRATEGIES)[number];

/** How many scales a weight has: one for each output channel, where the target can do that, or one. */
export const WEIGHTS_GRANULARITIES = ['channel', 'tensor'] as const;
export type WeightsGranularity = (typeof WEIGHTS_GRANULARITIES)[number];

/** What results are named by: the type of the activations. */
export const widthOf = (strategy: Strategy): 'int8' | 'int16' => (strategy === 'int8-8' ? 'int8' : 'int16');

/** Everything `dopt quantize` can be asked for; flags and recipes end here. Paths are absolute. */
export interface QuantizeOptions {
  model: string;
  /** What `model` is of; 'auto' goes by the file. */
  framework: Framework | 'auto';
  /** PyTorch: file with the weights of the network that the `.py` at `model` defines. */
  weights: string | null;
  /** PyTorch: class or function in the `.py` that makes the network; null when there is only one. */
  className: string | null;
  /** TensorFlow: execute Python code that the file holds (Lambda layers of a Keras `.h5`). */
  trustCode: boolean;
  /** PyTorch: the packages that run the network; null: those of PyTorch 1.11. */
  profile: TorchProfile | null;
  /** TensorFlow: quantize activations in the written-back graph too. */
  fakeQuant: boolean;
  /** Run folder. */
  out: string;
  /** Calibration samples; also the scored ones, kept apart, unless `verifyData` names others. */
  data: string;
  verifyData: string | null;
  /** One source for each input instead of `data`, which then names the first; null otherwise. Leaves no `verifyData`. */
  parts: DataPart[] | null;
  labels: string | null;
  preprocess: Preprocess;
  metric: Metric | null;
  inputShapes: Record<string, number[]>;
  outputs: string[] | null;
  strategy: Strategy;
  target: string;
  weightsGranularity: WeightsGranularity;
  calibration: Calibration;
  effort: Effort;
  /** Which algorithms run: those of the effort (`engineFor`), as switched off and on. */
  engine: Engine;
  /** Algorithms that are kept where they help on samples kept back (`tuningSamples`); none when absent. */
  compared?: readonly Algorithm[];
  /** Most calibration samples used, and most scored ones (null: all of `verifyData`, or what is kept back). */
  samples: number;
  verifySamples: number | null;
  /** Most samples kept back from calibration to decide between settings; none when absent. */
  tuningSamples?: number;
  exclude: string[];
  /** Tensors that take another precision than the strategy's; absent where all take that. */
  precision?: Precision;
  /** Find the fewest tensors that must be wider for this; absent where the precision is as given. */
  goal?: Goal;
  strict: boolean;
  skipBad: boolean;
  float16ToFloat32: boolean;
  seed: number;
  threads: number;
  /** Index of the GPU that runs networks over samples; the processor where it is absent or null. */
  gpus?: readonly number[] | null;
  environment: EnvironmentKind;
  resume: boolean;
  /** Name of the recipe that was applied, for the report. */
  recipe: string | null;
}
