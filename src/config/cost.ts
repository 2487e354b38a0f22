import { z } from 'zod';
import { precisionSchema, STATUSES } from './target.js';

/** What limits a kernel: see src/target/time.ts. */
export const boundSchema = z.enum(['matrix', 'vector', 'external', 'onChip', 'buffers', 'overhead', 'host']);

/** What a kernel costs. */
export const layerCostSchema = z.strictObject({
  /** Of its first node; `nodes` names all. */
  name: z.string(),
  op: z.string(),
  nodes: z.array(z.string()),
  unit: z.enum(['matrix', 'depthwise', 'vector', 'mover', 'free', 'host']),
  precision: precisionSchema,
  seconds: z.number(),
  bound: boundSchema,
  /** Share of the multiplications that the matrix unit could do in its time; null for kernels without any. */
  utilisation: z.number().nullable(),
  macs: z.number(),
  bytes: z.strictObject({ weights: z.number(), external: z.number(), onChip: z.number() }),
  /** Joules; see `energyMeasured`. */
  energy: z.number(),
  /** dopt does not know the operator; it is counted as one that moves its values. */
  guessed: z.boolean(),
});

/** Something to change in the network, with what it would bring. */
export const adviceSchema = z.strictObject({
  kind: z.enum(['channels', 'mover', 'weights', 'host', 'function']),
  layer: z.string(),
  message: z.string(),
  /** Seconds that it would save. */
  gain: z.number(),
});

/** What a network costs on a device in one precision. */
export const networkCostSchema = z.strictObject({
  target: z.string(),
  precision: precisionSchema,
  seconds: z.number(),
  /** 90 % of predictions like this lie in it. */
  interval: z.tuple([z.number(), z.number()]),
  /** Networks that the precision was measured with on the device; 0 for values of a data sheet alone. */
  measured: z.number(),
  energy: z.number(),
  /** Whether energies are joules of the device; otherwise they compare networks and precisions on one device. */
  energyMeasured: z.boolean(),
  run: z.number().describe('seconds that starting the network takes'),
  memory: z.strictObject({
    weights: z.number(),
    /** Bytes of the arena of activations, and the most that are alive at a time. */
    arena: z.number(),
    peak: z.strictObject({
      bytes: z.number(),
      layer: z.string(),
      alive: z.array(z.strictObject({ tensor: z.string(), bytes: z.number() })),
    }),
  }),
  layers: z.array(layerCostSchema),
  advice: z.array(adviceSchema),
  /** Values of the profile that the time rests on and no measurement has corrected, with their weight. */
  restsOn: z.array(
    z.strictObject({
      value: z.string(),
      status: z.enum(STATUSES),
      source: z.string(),
      /** Change of the time in per cent for one per cent more of it. */
      elasticity: z.number(),
    }),
  ),
  /** The matrix unit and external memory: what a roofline is drawn with. */
  peak: z.strictObject({ macs: z.number(), external: z.number(), onChip: z.number() }),
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
  /** One a target and precision, in the order asked for. */
  costs: z.array(networkCostSchema),
  warnings: z.array(z.string()),
});

export type LayerCost = z.infer<typeof layerCostSchema>;
export type Advice = z.infer<typeof adviceSchema>;
export type CostOfNetwork = z.infer<typeof networkCostSchema>;
export type CostResult = z.infer<typeof costSchema>;
export type PredictedCost = z.infer<typeof predictedCostSchema>;
