/** One input of a Concat as the decision sees it. */
export interface ConcatInput {
  range: { low: number; high: number };
  /** Elements seen, and the sum of their squares. */
  count: number;
  power: number;
  /** Expected squared error per element at its own range, and at the range that covers all inputs. */
  ownError: number;
  unionError: number;
  /** Whether another quantized operator reads this tensor too. */
  readElsewhere: boolean;
}

/** Widths further apart than this are never tied for a tensor that is read elsewhere: it would lose three bits there. */
const UNLIKE = 8;

/**
 * Whether all inputs of a Concat take one quantizer, which makes the Concat free on the device, or keep their own and
 * are requantized by it.
 *
 * Tied, every input carries the error of the common range, for all of its readers. Requantized, an input carries its
 * own error elsewhere and, behind the Concat, that error plus the rounding of the output grid, step²/12. The way that
 * loses less in total, each input's error relative to its power, is taken. Inputs of unlike ranges that are read
 * elsewhere are never tied: a small-valued branch would be wiped out for its other reader too.
 *
 * @param outputStep scale of the Concat's own quantizer
 */
export function tyingPays(
  inputs: readonly ConcatInput[],
  union: { low: number; high: number },
  outputStep: number,
): { tied: boolean; reason: string } {
  const width = union.high - union.low;
  const unlike = inputs.find(
    ({ range, readElsewhere }) => readElsewhere && (range.high - range.low) * UNLIKE < width,
  );
  if (unlike) {
    const ratio = width / Math.max(unlike.range.high - unlike.range.low, Number.MIN_VALUE);
    return {
      tied: false,
      reason: `ranges are unlike: one is ${ratio.toFixed(0)} times narrower and read elsewhere`,
    };
  }
  let tied = 0;
  let requantized = 0;
  for (const { count, power, ownError, unionError, readElsewhere } of inputs) {
    if (power === 0) continue;
    const weight = count / power;
    tied += weight * unionError * (readElsewhere ? 2 : 1);
    requantized += weight * (ownError * (readElsewhere ? 2 : 1) + outputStep ** 2 / 12);
  }
  const words = `noise-to-signal ${tied.toExponential(1)} tied, ${requantized.toExponential(1)} requantized`;
  return { tied: tied <= requantized, reason: words };
}
