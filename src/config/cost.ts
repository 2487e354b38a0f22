import { z } from 'zod';
import { precisionSchema, STATUSES } from './target.js';

/** What limits a kernel: see src/target/time.ts. */
export const boundSchema = z.enum(['matrix', 'vector', 'external', 'onChip', 'buffers', 'overhead', 'host']);

/** What a kernel costs. */
export const layerCostSchema = z.strictObject({
  name: z.string().describe('of its first node; `nodes` names all'),
  op: z.string(),
  nodes: z.array(z.string()),
  unit: z.enum(['matrix', 'depthwise', 'vector', 'mover', 'free', 'host']),
  precision: precisionSchema,
  seconds: z.number(),
  bound: boundSchema,
  utilisation: z
    .number()
    .nullable()
    .describe(
      'share of the multiplications that the matrix unit could do in its time; null for kernels without any',
    ),
  macs: z.number(),
  bytes: z.strictObject({ weights: z.number(), external: z.number(), onChip: z.number() }),
  energy: z.number().describe('joules; see `energyMeasured`'),
  guessed: z
    .boolean()
    .describe('dopt does not know the operator; it is counted as one that moves its values'),
});

/** Something to change in the network, with what it would bring. */
export const adviceSchema = z.strictObject({
  kind: z.enum(['channels', 'mover', 'weights', 'host', 'function']),
  layer: z.string(),
  message: z.string(),
  gain: z.number().describe('seconds that it would save'),
});

/** What a network costs on a device in one precision. */
export const networkCostSchema = z.strictObject({
  target: z.string(),
  precision: precisionSchema,
  seconds: z.number(),
  interval: z.tuple([z.number(), z.number()]).describe('90 % of predictions like this lie in it'),
  measured: z
    .number()
    .describe(
      'networks that the precision was measured with on the device; 0 for values of a data sheet alone',
    ),
  energy: z.number(),
  energyMeasured: z
    .boolean()
    .describe(
      'whether energies are joules of the device; otherwise they compare networks and precisions on one device',
    ),
  run: z.number().describe('seconds that starting the network takes'),
  memory: z.strictObject({
    weights: z.number(),
    arena: z.number().describe('bytes of the arena of activations, and the most that are alive at a time'),
    peak: z.strictObject({
      bytes: z.number(),
      layer: z.string(),
      alive: z.array(z.strictObject({ tensor: z.string(), bytes: z.number() })),
    }),
  }),
  layers: z.array(layerCostSchema),
  advice: z.array(adviceSchema),
  restsOn: z
    .array(
      z.strictObject({
        value: z.string(),
        status: z.enum(STATUSES),
        source: z.string(),
        elasticity: z.number().describe('change of the time in per cent for one per cent more of it'),
      }),
    )
    .describe(
      'values of the profile that the time rests on and no measurement has corrected, with their weight',
    ),
  peak: z
    .strictObject({ macs: z.number(), external: z.number(), onChip: z.number() })
    .describe('the matrix unit and external memory: what a roofline is drawn with'),
});

const briefCostSchema = networkCostSchema.pick({
  precision: true,
  seconds: true,
  interval: true,
  energy: true,
  measured: true,
});

/** What the cost model predicts of a model in float and as it was quantized: one sample on the target. */
export const predictedCostSchema = z.strictObject({
  target: z.string(),
  float: briefCostSchema.nullable().describe('null on a device without floating point'),
  quantized: briefCostSchema.describe('its precision is that of most layers'),
});

/** What `dopt cost --json` prints. */
export const costSchema = z.strictObject({
  version: z.literal(1),
  dopt: z.string(),
  model: z.strictObject({
    name: z.string(),
    path: z.string(),
    macs: z.number(),
    parameters: z.number(),
    notes: z.array(z.string()),
  }),
  costs: z.array(networkCostSchema).describe('one a target and precision, in the order asked for'),
  warnings: z.array(z.string()),
});

export type LayerCost = z.infer<typeof layerCostSchema>;
export type Advice = z.infer<typeof adviceSchema>;
export type CostOfNetwork = z.infer<typeof networkCostSchema>;
export type CostResult = z.infer<typeof costSchema>;
export type PredictedCost = z.infer<typeof predictedCostSchema>;
