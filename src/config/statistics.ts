import { z } from 'zod';

/**
 * statistics.json: what calibration saw of each observed tensor. The histogram counts lie in
 * `statistics.safetensors` beside it, one uint64 array of `bins` elements a tensor, under the tensor's name.
 *
 * Bin k covers [(base + k)·width, (base + k + 1)·width). `width` is a power of two, so that widening merges bins in
 * pairs without error and zero always lies on a border. Exact zeros, NaN and infinities are counted apart.
 */
export const tensorStatisticsSchema = z.strictObject({
  tensor: z.string(),
  /** Finite values seen, exact zeros included. */
  count: z.number().nonnegative(),
  zeros: z.number().nonnegative(),
  nans: z.number().nonnegative(),
  infinities: z.number().nonnegative(),
  /** Exact extremes of the finite values; both 0 when count is 0. */
  min: z.number(),
  max: z.number(),
  /** Double-precision sums over the finite values. */
  sum: z.number(),
  sumSquares: z.number(),
  histogram: z.strictObject({
    base: z.number().int(),
    width: z.number().nonnegative(),
    bins: z.number().int(),
  }),
});

export const statisticsSchema = z.strictObject({
  version: z.literal(1),
  samples: z.number().int().nonnegative(),
  /** Files left out because of --skip-bad, with the reason. */
  skipped: z.array(z.strictObject({ file: z.string(), reason: z.string() })),
  warnings: z.array(z.string()),
  tensors: z.array(tensorStatisticsSchema),
});

export type TensorStatistics = z.infer<typeof tensorStatisticsSchema>;
export type Statistics = z.infer<typeof statisticsSchema>;
