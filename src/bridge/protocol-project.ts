import { z } from 'zod';
import { arrayFilesSchema, method } from './protocol-method.js';

/** The part of the protocol that runs the user's own code: training programs and metrics (python/dopt/plugin, metric). */

/** A metric of the user's. */
const metricFileShape = {
  file: z.string(),
  /** Seconds without a sign of life (a sample read, a line printed) after which it is ended with METRIC_HANG. */
  patience: z.number().positive(),
};

export const PROJECT_METHODS = {
  /** Runs a training project for a few steps: what of its networks the plug-in captured, what stays float and why. */
  pluginCheck: method(
    z.strictObject({
      script: z.string(),
      arguments: z.array(z.string()),
      steps: z.number().int().positive(),
    }),
    z.strictObject({
      /** In the order in which the program quantized them. */
      networks: z.array(
        z.strictObject({
          network: z.string(),
          captured: z.record(z.string(), z.string()),
          float: z.array(z.strictObject({ name: z.string(), op_type: z.string(), reason: z.string() })),
        }),
      ),
      steps: z.number(),
      /** 'stopped' after the steps asked for, 'finished' or 'exit N' when the program ended by itself before. */
      ended: z.string(),
      warnings: z.array(z.string()),
    }),
  ),

  /** Loads a Python file with a metric, to be told of mistakes in it early; rejects with METRIC_… and the line. */
  checkMetric: method(z.strictObject(metricFileShape), z.strictObject({})),

  /**
   * Calls `evaluate(outputs, labels)` of a Python file on what a model put out for all samples; where a call is quick,
   * also on draws of the samples. What the user's code prints goes where Python's output goes.
   */
  userMetric: method(
    z.strictObject({
      ...metricFileShape,
      /** Which model it is, for messages. */
      model: z.string(),
      samples: z.array(z.strictObject({ name: z.string(), tensors: arrayFilesSchema })),
      /** Values or paths, one a sample, or rows of a `.npy` file; null where there are none. */
      labels: z
        .union([
          z.strictObject({ values: z.array(z.unknown()) }),
          z.strictObject({ files: z.array(z.string()) }),
          z.strictObject({ array: z.string(), rows: z.array(z.number().int().nonnegative()) }),
        ])
        .nullable(),
      /** Draws for standard errors, given up when all of them would take longer than so many seconds; null for none. */
      resampling: z
        .strictObject({ rounds: z.number().int().positive(), seed: z.number().int(), seconds: z.number() })
        .nullable(),
    }),
    z.strictObject({
      scores: z
        .array(z.strictObject({ name: z.string(), value: z.number(), better: z.enum(['higher', 'lower']) }))
        .min(1),
      /** The values of the scores by draw, or the reason why there are none. */
      replicates: z.array(z.array(z.number())).nullable(),
      reason: z.string().nullable(),
      seconds: z.number(),
    }),
  ),
} as const;
