import { z } from 'zod';
import { numberSchema } from './common.js';

/**
 * analysis.json, and what `dopt analyze --json` prints: what each quantizer of a finished run does to the network's
 * outputs, what would help, and how values are distributed. Decibels are signal over noise; 'Infinity' where nothing
 * differs.
 */

/** Name of the file in a run folder. */
export const ANALYSIS = 'analysis.json';

/** Values of a tensor over `samples`, or of a weight. */
export const distributionSchema = z.strictObject({
  low: z.number(),
  high: z.number(),
  /** Fourth standardized moment; 3 for a normal distribution. null where all values are equal. */
  kurtosis: z.number().nullable(),
  /** Largest magnitude over the one that 99.9 % of the values stay below; null where that is zero. */
  tail: z.number().nullable(),
  channels: z.strictObject({
    count: z.number().int(),
    /** Channels that are zero throughout. */
    dead: z.array(z.number().int()),
    /** Channels that reach many times as far as the median one, with that ratio. */
    outliers: z.array(z.strictObject({ channel: z.number().int(), ratio: z.number() })),
  }),
  /** Counts of equal bins from `low` to `high`; exact zeros of activations are left out. */
  histogram: z.array(z.number().int()),
  /** Activations: extremes after so many samples; null for weights, which have none. */
  growth: z
    .strictObject({
      points: z.array(z.strictObject({ samples: z.number().int(), low: z.number(), high: z.number() })),
      /** How much wider the range became over the second half of the samples: 0.1 is a tenth. */
      lastDoubling: z.number(),
    })
    .nullable(),
});

/** Something that was tried in the place of a quantizer. */
export const remedySchema = z.strictObject({
  operation: z.enum(['int16', 'float', 'scale a channel', 'calibration', 'equalization']),
  /** What to add to the command, or to take away; null where the engine has no switch for it. */
  flag: z.string().nullable(),
  note: z.string(),
  /** Share of the quantizer's own noise at the outputs that is gone: 1 is all, below 0 it makes things worse. */
  removes: z.number(),
});

export const quantizerAnalysisSchema = z.strictObject({
  kind: z.enum(['activation', 'weight']),
  /** Tensor, or operator that owns the weight. */
  name: z.string(),
  /** Operator that produces the activation; null for a graph input. The weight's initializer. */
  origin: z.string().nullable(),
  bits: z.number().int(),
  /** Signal over noise with this quantizer on and everything else in float. */
  solo: z.strictObject({
    /** At each output of the network. */
    outputs: z.array(numberSchema),
    /** At the results of the layers that read it; of its layer, for a weight. null where there is none to look at. */
    layer: numberSchema.nullable(),
  }),
  /** Part of the solo noise of all quantizers, and the place by it: 1 is to blame most. */
  share: z.number(),
  rank: z.number().int(),
  /** With everything from the inputs up to this activation quantized; null for weights. */
  accumulated: z
    .strictObject({
      /** At each output, with everything behind in float. */
      outputs: z.array(numberSchema),
      /** At the tensor itself, before it is rounded. */
      tensor: numberSchema,
    })
    .nullable(),
  /** What was tried: cures first, the cheapest leading; only for the quantizers that are to blame most. */
  remedies: z.array(remedySchema),
  distribution: distributionSchema.nullable(),
});

export const analysisSchema = z.strictObject({
  $schema: z.string().optional(),
  version: z.literal(1),
  dopt: z.string(),
  model: z.string(),
  target: z.string(),
  strategy: z.string(),
  data: z.strictObject({
    path: z.string(),
    /** Samples that errors were measured on, by name: those with the largest errors, and a spread of the others. */
    samples: z.array(z.string()),
    /** How many distributions were gathered over. */
    profiled: z.number().int(),
  }),
  /** Of the network, with signal over noise of the whole quantized model on these samples. */
  outputs: z.array(z.strictObject({ name: z.string(), sqnr: numberSchema })),
  /** In graph order. */
  quantizers: z.array(quantizerAnalysisSchema),
  /** What was noticed, one sentence each, most important first. */
  findings: z.array(z.string()),
  seconds: z.number(),
  peakBytes: z.number(),
});

export type Distribution = z.infer<typeof distributionSchema>;
export type Remedy = z.infer<typeof remedySchema>;
export type QuantizerAnalysis = z.infer<typeof quantizerAnalysisSchema>;
export type Analysis = z.infer<typeof analysisSchema>;
