import type { EnvironmentKind } from '../bridge/profiles.js';
import type { Preprocess } from '../config/data.js';
import type { Metric } from '../config/metric.js';
import type { Calibration } from './algorithms/ranges.js';

/** How much work goes into accuracy: `fast` stops at the ranges, `balanced` refines layer by layer. */
export type Effort = 'fast' | 'balanced';

/** Everything `dopt quantize` can be asked for; flags and recipes end here. Paths are absolute. */
export interface QuantizeOptions {
  model: string;
  /** Run folder. */
  out: string;
  /** Calibration samples; also the scored ones, kept apart, unless `verifyData` names others. */
  data: string;
  verifyData: string | null;
  labels: string | null;
  preprocess: Preprocess;
  metric: Metric | null;
  inputShapes: Record<string, number[]>;
  outputs: string[] | null;
  strategy: 'int8-8';
  target: string;
  calibration: Calibration;
  effort: Effort;
  /** Most calibration samples used, and most scored ones (null: all of `verifyData`, or what is kept back). */
  samples: number;
  verifySamples: number | null;
  exclude: string[];
  strict: boolean;
  skipBad: boolean;
  float16ToFloat32: boolean;
  seed: number;
  threads: number;
  environment: EnvironmentKind;
  resume: boolean;
  /** Name of the recipe that was applied, for the report. */
  recipe: string | null;
}
