import { z } from 'zod';
import { precisionSchema } from './target.js';
import { readTextFile } from './text-file.js';
import { parseYaml, type YamlKind } from './yaml.js';

/**
 * scen.yaml: what an architecture search is to do, with the keys of the original tool. What dopt adds lies in
 * `constraints`, `searcher.seed` and `mode`, and `evaluator`.
 */

/** Whole numbers as the samples write them: a list, `(224,224,3)`, `64,64,128`, or a number alone. */
const counts = z.preprocess((value) => {
  if (typeof value === 'number') return [value];
  if (typeof value !== 'string') return value;
  const parts = value.replace(/^[([]|[)\]]$/g, '').split(',');
  return parts.map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
}, z.array(z.number().int().nonnegative()));

const path = z.string().min(1);

export const FRAMEWORKS = ['TensorFlow', 'PyTorch'] as const;

export const COSTS = ['size', 'flops', 'latency', 'peak_memory', 'energy'] as const;
export type CostName = (typeof COSTS)[number];

/** A number, or one with a unit letter: 11.4M parameters, 9.25G operations. */
const amount = z.preprocess((value) => {
  const found = typeof value === 'string' ? /^\s*([\d.]+)\s*([kKMG])\s*$/.exec(value) : null;
  const factors: Record<string, number> = { k: 1e3, K: 1e3, M: 1e6, G: 1e9 };
  return found ? Number(found[1]) * factors[found[2]!]! : value;
}, z.number({ error: 'a number, or one with k, M or G behind it' }).positive());

const limitSchema = z
  .strictObject({
    cost: z.enum(COSTS),
    max: amount.optional(),
    min: amount.optional(),
    target: z.string().min(1).optional().describe('device whose cost it is; that of --target when left out'),
    precision: precisionSchema.optional().describe('fp16 when left out'),
  })
  .refine(({ max, min }) => max !== undefined || min !== undefined, 'max, min or both')
  .refine(({ max, min }) => max === undefined || min === undefined || min <= max, 'min not above max');

const supernetSchema = z
  .strictObject({
    input_shape: counts
      .refine((shape) => shape.length === 3 && shape.every((side) => side > 0), 'height, width, channels')
      .default([224, 224, 3]),
    data_format: z.enum(['channels_last', 'channels_first']).optional(),
    filters: counts
      .refine((list) => list.length > 0 && list.every((n) => n > 0), 'numbers above 0')
      .optional(),
    strides: counts.refine((list) => list.every((n) => n === 1 || n === 2), 'ones and twos').optional(),
    feature_choose: counts.optional(),
  })
  .superRefine(({ filters, strides, feature_choose }, context) => {
    if ((filters?.length ?? 0) !== (strides?.length ?? 0))
      context.addIssue({
        code: 'custom',
        path: [strides ? 'strides' : 'filters'],
        message: `as many strides as filters: there are ${filters?.length ?? 0} filters and ${strides?.length ?? 0} strides`,
      });
    const layers = filters?.length ?? DEFAULT_FILTERS.length;
    if (feature_choose?.some((layer) => layer >= layers))
      context.addIssue({
        code: 'custom',
        path: ['feature_choose'],
        message: `layers from 0 to ${layers - 1}`,
      });
  });

/** What is searched where the file names no layers: a small network as the example of the original has it. */
export const DEFAULT_FILTERS = [64, 64, 128, 128, 256, 256] as const;
export const DEFAULT_STRIDES = [1, 1, 2, 1, 2, 1] as const;

/** Epochs of a network that is trained alone where the file says nothing. */
export const ALONE_EPOCHS = 3;

const resourceSchema = z.strictObject({
  name: z
    .preprocess(
      (value) => (typeof value === 'string' ? value.toLowerCase() : value),
      z.enum(['tensorflow_standalone', 'pytorch_standalone']),
    )
    .optional(),
  gpu_id: z
    .preprocess(
      (value) => (typeof value === 'number' ? String(value) : value),
      z.string().regex(/^\d+(,\d+)*$/, 'numbers of devices, separated by commas'),
    )
    .optional(),
});

const strategySchema = z
  .strictObject({
    name: z.literal('NASEA'),
    framework: z.enum(FRAMEWORKS),
    batch_size: z.number().int().positive(),
    epochs: z.number().int().positive(),
    supernet: supernetSchema.prefault({}),
    constraint: z
      .strictObject({
        application_type: z.enum(['image_classification', 'object_detection', 'semantic_segmentation']),
        constraint_type: z.enum(['size', 'flops', 'latency']),
        constraint_value: amount,
        processor_version: z.literal('npu_v1').optional(),
      })
      .describe(
        'size: parameters; flops: multiplications and additions; latency: milliseconds; of the whole network',
      ),
    constraints: z.array(limitSchema).default([]).describe('more limits, all of which hold'),
    optimizer: z
      .strictObject({
        weights_optimizer: z
          .strictObject({
            type: z.enum(['SGD', 'Momentum', 'Adam']).optional(),
            betas: z.tuple([z.number().min(0).max(1), z.number().min(0).max(1)]).default([0.9, 0.999]),
            learning_rate: z.number().positive().optional(),
            momentum: z.number().min(0).max(1).default(0.9),
          })
          .prefault({}),
      })
      .prefault({}),
    dataset: z.strictObject({ pre_train_dir: path.nullish(), train_dir: path, val_dir: path }),
    searcher: z
      .strictObject({
        generation_num: z.number().int().positive().default(100),
        pop_size: z.number().int().min(4).default(40),
        seed: z.number().int().nonnegative().default(0),
        mode: z
          .enum(['synchronous', 'steady'])
          .default('synchronous')
          .describe(
            'steady: no worker waits for others; which networks are tried then depends on who is faster',
          ),
      })
      .prefault({}),
    evaluator: z
      .strictObject({
        kind: z.enum(['supernet', 'standalone']).default('supernet'),
        epochs: z.number().int().positive().optional().describe('of each network where it is trained alone'),
        halving: z
          .strictObject({
            first: z.number().int().positive().default(1).describe('epochs that every network gets'),
            factor: z
              .number()
              .int()
              .min(2)
              .default(3)
              .describe('the best of one in so many get so many times as many epochs, again and again'),
          })
          .optional()
          .describe('`epochs` is what the best get; without it every network gets them'),
        inherit: z
          .boolean()
          .default(false)
          .describe('a network begins with the weights of the one that it is most alike, where shapes agree'),
        tune: z
          .number()
          .int()
          .nonnegative()
          .optional()
          .describe(
            'batches that a network goes on with from the shared weights before it is scored, whose loss on the validation data then orders networks; 160 when left out',
          ),
        seeds: z
          .number()
          .int()
          .positive()
          .optional()
          .describe(
            'how often a network goes on from the shared weights, each time with other new ones and other batches: loss and score are means; 4 when left out',
          ),
      })
      .superRefine(({ kind, epochs, halving, inherit, tune, seeds }, context) => {
        const issue = (key: string, message: string): void =>
          context.addIssue({ code: 'custom', path: [key], message });
        if (kind === 'supernet' && halving) issue('halving', 'kind: standalone');
        if (kind === 'standalone' && tune !== undefined) issue('tune', 'kind: supernet');
        if (seeds !== undefined && (kind === 'standalone' || tune === 0))
          issue('seeds', 'kind: supernet and tune');
        if (inherit && !halving) issue('inherit', 'halving, which keeps the weights');
        if (halving && (epochs ?? ALONE_EPOCHS) <= halving.first)
          issue('epochs', `more than halving.first, ${halving.first}`);
      })
      .prefault({}),
    resource: resourceSchema.optional(),
  })
  .superRefine(({ framework, optimizer }, context) => {
    if (framework === 'PyTorch' && optimizer.weights_optimizer.type === 'Momentum')
      context.addIssue({
        code: 'custom',
        path: ['optimizer', 'weights_optimizer', 'type'],
        message: 'SGD or Adam in PyTorch; SGD takes `momentum`',
      });
  });

export const scenarioSchema = z.strictObject({
  scenario: z.strictObject({ strategy: strategySchema, resource: resourceSchema.optional() }),
});
export type Scenario = z.output<typeof strategySchema> & { notes: string[] };

const SCENARIO: YamlKind = {
  code: 'SCENARIO_INVALID',
  never: 'no scenario',
  advice: 'Give the scen.yaml of a search.',
  check: 'Mend the file; `dopt search profile -c FILE` reads it and trains nothing.',
};

/**
 * Reads a scenario. The samples' own slips are read as they were meant, with a note: a full-width colon, and `resource`
 * indented one level too deep.
 * @throws UserError SCENARIO_INVALID, with file, line and column
 */
export async function readScenario(file: string): Promise<Scenario> {
  const notes: string[] = [];
  const text = (await readTextFile(file, SCENARIO))
    .split('\n')
    .map((line, index) => {
      if (!/^\s*[a-z_]+\s*：/u.test(line)) return line;
      notes.push(`${file}:${index + 1} has a full-width colon; it is read as ":".`);
      return line.replace(/：\s*/u, ': ');
    })
    .join('\n');
  const { strategy, resource } = parseYaml(text, file, scenarioSchema, SCENARIO).scenario;
  return {
    ...strategy,
    ...((resource ?? strategy.resource) && { resource: resource ?? strategy.resource }),
    notes,
  };
}
