import { z } from 'zod';
import { COSTS } from './scenario.js';
import { precisionSchema } from './target.js';

const count = z.number().int().positive();

/** A searched layer as it is built: everything that a framework needs, and nothing to decide. */
export const layerSchema = z.strictObject({
  block: z.enum(['conv', 'residual', 'bottleneck', 'mbconv', 'fused', 'skip']),
  in: count,
  out: count,
  stride: count,
  /** 0 for a skip. */
  kernel: z.number().int().nonnegative(),
  /** Channels inside of the block; 0 where it has no inside. */
  hidden: z.number().int().nonnegative(),
  /** Channels that squeeze-and-excitation squeezes to; 0 for none. */
  squeeze: z.number().int().nonnegative(),
});

/** pareto.json: the networks of a search that no other beats in score, or loss, and cost, cheapest first. */
export const paretoSchema = z.strictObject({
  version: z.literal(1),
  dopt: z.string(),
  limits: z.array(
    z.strictObject({
      cost: z.enum(COSTS),
      target: z.string(),
      precision: precisionSchema,
      min: z.number().nullable(),
      max: z.number().nullable(),
    }),
  ),
  tried: z.number().int().nonnegative(),
  networks: z.array(
    z.strictObject({
      number: z.number().int().nonnegative().describe('N of model_arch_result_N.py'),
      key: z.string(),
      score: z.number(),
      loss: z
        .number()
        .optional()
        .describe('what networks were compared by where they went on from shared weights'),
      costs: z.array(z.number()).describe('of the limits, in their order'),
      layers: z.array(layerSchema).min(1),
      file: z.string(),
    }),
  ),
});
export type Pareto = z.infer<typeof paretoSchema>;

/** A network that no other beats in score, or loss, and cost. */
export type FrontNetwork = Pareto['networks'][number];
