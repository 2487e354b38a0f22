import { z } from 'zod';

/**
 * A target profile: what is known of a device, one YAML file in targets/. Every value says where it comes from.
 *
 * Units: bytes, seconds, hertz, joules, watts; rates are per second unless named per cycle.
 */
export const STATUSES = ['measured', 'published', 'derived', 'assumed'] as const;

const statusSchema = z
  .enum(STATUSES)
  .describe(
    'measured: on the device; published: by its maker; derived: from values of either kind; assumed: a guess to start from',
  );

/** A value with where it comes from. */
function figure<S extends z.ZodType>(value: S) {
  return z.strictObject({
    value,
    status: statusSchema,
    source: z.string().min(1).describe('a key of `sources`'),
  });
}

const positive = z.number().positive();
const count = z.number().int().positive();
const rate = figure(positive);

/** A format that layers may compute in: see src/target/precision.ts. */
export const precisionSchema = z.enum(['fp32', 'fp16', 'int8', 'int16', 'int4']);

const groupKinds = [
  ...([
    'conv',
    'convtranspose',
    'gemm',
    'matmul',
    'add',
    'sub',
    'mul',
    'pool',
    'concat',
    'resample',
  ] as const),
];

const quantizationSchema = z
  .strictObject({
    integerKinds: figure(z.array(z.enum(groupKinds)).min(1)).describe('operators that have an integer form'),
    storage: figure(z.enum(['float16', 'integer'])).describe(
      'what lies in memory between operators: float16, where every integer layer quantizes its own inputs; or integers',
    ),
    perChannelConv: figure(z.boolean()).describe('weights of a convolution have a scale an output channel'),
    perChannelLinear: figure(z.boolean()).describe(
      'weights of Gemm and MatMul have a scale an output channel',
    ),
    int16Activations: figure(z.boolean()).describe('integer layers take int16 activations with int8 weights'),
    int4Weights: figure(z.boolean()).describe('layers take weights of 4 bits'),
  })
  .describe('what the device computes in integers');

const computeSchema = z.strictObject({
  clock: rate.describe('Hz'),
  cores: figure(count),
  coreExponent: figure(z.number().min(0).max(1)).describe('n cores are n^exponent times as fast as one'),
  matrix: z
    .partialRecord(
      precisionSchema,
      z.strictObject({
        tile: figure(z.tuple([count, count, count])).describe(
          'rows, inner length and columns that a product is padded to',
        ),
        macsPerCycle: rate.describe('multiplications and additions of one core'),
        tapTile: figure(z.tuple([count, count]))
          .optional()
          .describe('taps of the window and channels that the inner length may be made of instead'),
      }),
    )
    .refine((matrix) => Object.keys(matrix).length > 0, 'at least one precision')
    .describe('the matrix unit, by precision; a precision that is not here cannot be computed'),
  depthwise: z
    .strictObject({
      macsPerCycle: rate.describe('multiplications and additions of one core'),
      tapTile: figure(count).describe('taps of the window that are computed together'),
    })
    .describe('convolutions of each channel by itself'),
  vectorBytes: rate.describe('bytes that the vector unit of one core works on in a cycle'),
  overlap: figure(z.number().min(0).max(1))
    .optional()
    .describe(
      'share of moving and computing at the same time within a layer: 1, as where left out, with double buffers; 0 where one waits for the other',
    ),
});

const memorySchema = z.strictObject({
  weights: rate.describe('bytes a second from external memory for weights'),
  activations: rate.describe(
    'bytes a second to and from external memory for activations that do not fit on the chip',
  ),
  onChip: z
    .strictObject({
      bytes: figure(positive).describe('capacity for activations'),
      bandwidth: rate.describe('bytes a second'),
    })
    .describe('memory that activations pass through on the way from one operator to the next'),
  channelBlock: figure(z.number().int().nonnegative()).describe(
    'bytes that the channels of a stored map are padded to; 0 where they are not',
  ),
  buffers: z
    .strictObject({
      l1: figure(positive),
      l0a: figure(positive),
      l0b: figure(positive),
      l0c: figure(positive),
      toL0a: rate.describe('bytes a cycle'),
      toL0b: rate.describe('bytes a cycle'),
    })
    .optional()
    .describe(
      'buffers of one core in bytes, and the ways between them: tilings are searched where they are known',
    ),
});

const overheadSchema = z.strictObject({
  layer: rate.describe('seconds that starting a layer with weights, or a product of activations, takes'),
  operator: rate.describe('seconds that starting any other kernel takes'),
  run: rate.describe('seconds that starting a network takes'),
  host: rate.describe('seconds that a change to the host or back takes'),
});

const hostSchema = z
  .strictObject({
    bandwidth: rate.describe('bytes a second that go over to the host and back'),
    elements: rate.describe('elements that the host passes over in a second'),
  })
  .describe('the processor that runs what the device does not');

const operatorsSchema = z.strictObject({
  fusedFunctions: figure(z.array(z.string().min(1))).describe(
    'functions of each element that a layer computes before it stores its result',
  ),
  fusesSums: figure(z.boolean()).describe('a layer adds another tensor before it stores its result'),
  freeConcat: figure(z.number().int().nonnegative()).describe(
    'whole multiples of so many channels are joined and split without a copy; 0 where that always takes one',
  ),
  host: figure(z.array(z.string().min(1))).describe('ONNX operators that run on the host'),
  fillsStrides: figure(z.boolean())
    .optional()
    .describe(
      'a transposed convolution spreads its input with zeros and multiplies with every tap of its window; false where left out',
    ),
  passes: figure(z.record(z.string(), positive))
    .optional()
    .describe('passes of the vector unit over each element, by operator, where they are known'),
});

const energySchema = z
  .strictObject({
    mac: z
      .partialRecord(precisionSchema, rate)
      .describe('joules of a multiplication and addition, by precision'),
    vector: rate.describe('joules of an operation on one element'),
    external: rate.describe('joules of a byte of external memory'),
    onChip: rate.describe('joules of a byte of memory on the chip'),
    idle: figure(z.number().nonnegative()).describe('watts while the network runs'),
  })
  .describe('relative, unless the values are measured');

/** Factors on the profile that measurements called for. */
const factorsSchema = z.strictObject({
  matrix: rate.describe('on the rate of the matrix unit'),
  vector: rate.describe('on the rates of the vector unit and of depthwise convolutions'),
  memory: rate.describe('on all bandwidths'),
  layer: rate.describe('on the start of a layer'),
  operator: rate.describe('on the start of another kernel'),
  run: rate.describe('on the start of a network'),
  kinds: z
    .record(z.string(), positive)
    .optional()
    .describe('factors on the time of kernels by operator, from 50 measurements on'),
  error: rate.describe(
    'standard deviation of the logarithm of measured over predicted time, networks left out',
  ),
  rows: z.number().int().nonnegative().describe('measurements on this device; 0 for factors of another one'),
});

export const targetSchema = z
  .strictObject({
    name: z.string().regex(/^[a-z0-9][a-z0-9.-]*$/, 'lower-case letters, digits, dots and hyphens'),
    title: z.string().min(1),
    description: z.string().min(1).describe('what it computes in integers, in a sentence'),
    sources: z.record(z.string().min(1), z.string().min(1)).describe('where values come from'),
    quantization: quantizationSchema,
    compute: computeSchema,
    memory: memorySchema,
    overhead: overheadSchema,
    host: hostSchema,
    operators: operatorsSchema,
    energy: energySchema,
    error: rate.describe(
      'standard deviation of the logarithm of measured over predicted time, were all values exact',
    ),
    calibration: z
      .partialRecord(precisionSchema, factorsSchema)
      .optional()
      .describe('factors that measurements call for'),
  })
  .superRefine((target, context) => {
    for (const { path, source } of sourcesIn(target)) {
      if (!(source in target.sources))
        context.addIssue({
          code: 'custom',
          path: [...path, 'source'],
          message: `a key of sources: ${Object.keys(target.sources).join(', ')}`,
        });
    }
  });

/** Every figure of a profile that names a source, with its path. */
function* sourcesIn(
  value: unknown,
  path: (string | number)[] = [],
): Generator<{ path: (string | number)[]; source: string }> {
  if (value === null || typeof value !== 'object') return;
  const { source } = value as { source?: unknown };
  if (typeof source === 'string') yield { path, source };
  else for (const [key, inner] of Object.entries(value)) yield* sourcesIn(inner, [...path, key]);
}

export type Status = (typeof STATUSES)[number];
export type Figure<T> = { value: T; status: Status; source: string };
export type Target = z.infer<typeof targetSchema>;
export type Factors = z.infer<typeof factorsSchema>;
