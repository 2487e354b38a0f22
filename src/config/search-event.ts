import { z } from 'zod';

/** Why a network has no score. */
export const failureSchema = z.enum(['not-a-number', 'out-of-memory', 'died']);
export type Failure = z.infer<typeof failureSchema>;

const genomeSchema = z.array(z.number().int().nonnegative());

/** A network, and how long it is trained in all. */
const stageSchema = z.strictObject({ key: z.string(), epochs: z.number().int().positive() });

/** A line of search.ndjson: everything that happens in a search, in the order in which it does. */
export const searchEventSchema = z.discriminatedUnion('event', [
  z.strictObject({
    event: z.literal('opened'),
    version: z.literal(1),
    digest: z.string().describe('digest of all that decides which networks are tried and what they score'),
    space: z.string().describe('digest of what genomes stand for; under another one no score can be kept'),
    /** How networks go on from shared weights before their loss is taken, where they do; it was one of training batches once. */
    tune: z
      .strictObject({
        batches: z.number().int().positive(),
        seeds: z.number().int().positive(),
        loss: z.literal('validation').optional(),
      })
      .optional(),
    time: z.string(),
  }),
  z.strictObject({
    event: z.literal('proposed'),
    round: z.number().int().nonnegative(),
    genomes: z.array(genomeSchema),
    /** Costs of each by limit, in the order of the limits. */
    costs: z.array(z.array(z.number())).optional(),
    /** Epochs that each gets at first, where the best of them get more later. */
    epochs: z.number().int().positive().optional(),
    /** Networks whose weights they begin with, null for none. */
    parents: z.array(stageSchema.nullable()).optional(),
  }),
  /** Networks that are trained on, in a round that may have proposed others. */
  z.strictObject({
    event: z.literal('promoted'),
    round: z.number().int().nonnegative(),
    stages: z.array(stageSchema).min(1),
  }),
  /** A worker has taken a network on; who is dead holds nothing. */
  z.strictObject({
    event: z.literal('leased'),
    keys: z.array(z.string()),
    attempt: z.number().int().positive(),
    process: z.number().int(),
    worker: z.number().int().nonnegative().optional(),
    time: z.string(),
  }),
  z.strictObject({
    event: z.literal('scored'),
    key: z.string(),
    /** Epochs that it was trained for in all, where networks differ in that. */
    epochs: z.number().int().positive().optional(),
    score: z.number().nullable(),
    /** Its loss on the validation data after it went on from shared weights, where it did. */
    loss: z.number().optional(),
    reason: failureSchema.nullable(),
  }),
  /** All networks of a round have a score or a reason, and none goes on. */
  z.strictObject({ event: z.literal('closed'), round: z.number().int().nonnegative() }),
]);
export type SearchEvent = z.infer<typeof searchEventSchema>;
