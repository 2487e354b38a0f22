/** How much less noise one form of a network makes than another, in dB over samples. */
export interface PairedGain {
  mean: number;
  /** Of the mean, over samples. */
  standardError: number;
  /** Of the output that gains least. */
  worst: number;
}

/** Noise below this share of the signal is no noise: rounding of float32. */
const FLOOR = 1e-12;

/**
 * Gain of one form over another by the noise at their outputs, sample by sample: samples differ far more from each other
 * than forms do on one of them.
 * @param signal by sample and output: energy of the reference
 * @param before, after by sample and output: noise of the two forms
 */
export function pairedGain(
  signal: readonly number[][],
  before: readonly number[][],
  after: readonly number[][],
): PairedGain {
  const decibels = signal.map((energies, sample) =>
    energies.map((energy, output) => {
      const floor = Math.max(energy * FLOOR, Number.MIN_VALUE);
      return (
        10 * Math.log10(Math.max(before[sample]![output]!, floor) / Math.max(after[sample]![output]!, floor))
      );
    }),
  );
  const bySample = decibels.map(average);
  const mean = average(bySample);
  const variance =
    bySample.reduce((sum, gain) => sum + (gain - mean) ** 2, 0) / Math.max(1, bySample.length - 1);
  const outputs = decibels[0]!.map((_, output) => average(decibels.map((row) => row[output]!)));
  return { mean, standardError: Math.sqrt(variance / bySample.length), worst: Math.min(...outputs) };
}

const average = (values: readonly number[]): number =>
  values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
