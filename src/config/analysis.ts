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
  kurtosis: z
    .number()
    .nullable()
    .describe('fourth standardized moment; 3 for a normal distribution. null where all values are equal'),
  tail: z
    .number()
    .nullable()
    .describe('largest magnitude over the one that 99.9 % of the values stay below; null where that is zero'),
  channels: z.strictObject({
    count: z.number().int(),
    dead: z.array(z.number().int()).describe('channels that are zero throughout'),
    outliers: z
      .array(z.strictObject({ channel: z.number().int(), ratio: z.number() }))
      .describe('channels that reach many times as far as the median one, with that ratio'),
  }),
  histogram: z
    .array(z.number().int())
    .describe('counts of equal bins from `low` to `high`; exact zeros of activations are left out'),
  growth: z
    .strictObject({
      points: z.array(z.strictObject({ samples: z.number().int(), low: z.number(), high: z.number() })),
      lastDoubling: z
        .number()
        .describe('how much wider the range became over the second half of the samples: 0.1 is a tenth'),
    })
    .nullable()
    .describe('activations: extremes after so many samples; null for weights, which have none'),
});

/** Something that was tried in the place of a quantizer. */
export const remedySchema = z.strictObject({
  operation: z.enum(['int16', 'float', 'scale a channel', 'calibration', 'equalization']),
  flag: z
    .string()
    .nullable()
    .describe('what to add to the command, or to take away; null where the engine has no switch for it'),
  note: z.string(),
  removes: z
    .number()
    .describe(
      "share of the quantizer's own noise at the outputs that is gone: 1 is all, below 0 it makes things worse",
    ),
});

export const quantizerAnalysisSchema = z.strictObject({
  kind: z.enum(['activation', 'weight']),
  name: z.string().describe('tensor, or operator that owns the weight'),
  origin: z
    .string()
    .nullable()
    .describe("operator that produces the activation; null for a graph input. The weight's initializer"),
  bits: z.number().int(),
  solo: z
    .strictObject({
      outputs: z.array(numberSchema).describe('at each output of the network'),
      layer: numberSchema
        .nullable()
        .describe(
          'at the results of the layers that read it; of its layer, for a weight. null where there is none to look at',
        ),
    })
    .describe('signal over noise with this quantizer on and everything else in float'),
  share: z
    .number()
    .describe('part of the solo noise of all quantizers, and the place by it: 1 is to blame most'),
  rank: z.number().int(),
  accumulated: z
    .strictObject({
      outputs: z.array(numberSchema).describe('at each output, with everything behind in float'),
      tensor: numberSchema.describe('at the tensor itself, before it is rounded'),
    })
    .nullable()
    .describe('with everything from the inputs up to this activation quantized; null for weights'),
  remedies: z
    .array(remedySchema)
    .describe(
      'what was tried: cures first, the cheapest leading; only for the quantizers that are to blame most',
    ),
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
    samples: z
      .array(z.string())
      .describe(
        'samples that errors were measured on, by name: those with the largest errors, and a spread of the others',
      ),
    profiled: z.number().int().describe('how many distributions were gathered over'),
  }),
  outputs: z
    .array(z.strictObject({ name: z.string(), sqnr: numberSchema }))
    .describe('of the network, with signal over noise of the whole quantized model on these samples'),
  quantizers: z.array(quantizerAnalysisSchema).describe('in graph order'),
  findings: z.array(z.string()).describe('what was noticed, one sentence each, most important first'),
  seconds: z.number(),
  peakBytes: z.number(),
});

export type Distribution = z.infer<typeof distributionSchema>;
export type Remedy = z.infer<typeof remedySchema>;
export type QuantizerAnalysis = z.infer<typeof quantizerAnalysisSchema>;
export type Analysis = z.infer<typeof analysisSchema>;
