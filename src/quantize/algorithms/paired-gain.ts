/** How much less noise one form of a network makes than another, in dB over samples. */
export interface Gain {
  mean: number;
  /** Of the mean, over samples. */
  standardError: number;
}

/** A gain over all outputs, each counting alike. */
export interface PairedGain extends Gain {
  /** Of the output that gains least. */
  worst: number;
}

/** Energies by sample and output. */
type Energies = readonly (readonly number[])[];

/** Noise below this share of the signal is no noise: rounding of float32. */
const FLOOR = 1e-12;

/**
 * Gain of one form over another by the noise at their outputs, sample by sample: samples differ far more from each other
 * than forms do on one of them.
 * @param signal by sample and output: energy of the reference
 * @param before, after by sample and output: noise of the two forms
 */
export function pairedGain(signal: Energies, before: Energies, after: Energies): PairedGain {
  const decibels = gains(signal, before, after);
  const worst = Math.min(...byOutput(decibels).map(({ mean }) => mean));
  return { ...gainOver(decibels.map(average)), worst };
}

/** The gain at each output; parameters as for `pairedGain`. */
export const gainsByOutput = (signal: Energies, before: Energies, after: Energies): Gain[] =>
  byOutput(gains(signal, before, after));

/** Gain in dB by sample and output. */
const gains = (signal: Energies, before: Energies, after: Energies): number[][] =>
  signal.map((energies, sample) =>
    energies.map((energy, output) => {
      const floor = Math.max(energy * FLOOR, Number.MIN_VALUE);
      return (
        10 * Math.log10(Math.max(before[sample]![output]!, floor) / Math.max(after[sample]![output]!, floor))
      );
    }),
  );

const byOutput = (decibels: readonly number[][]): Gain[] =>
  (decibels[0] ?? []).map((_, output) => gainOver(decibels.map((row) => row[output]!)));

function gainOver(values: readonly number[]): Gain {
  const mean = average(values);
  const variance = values.reduce((sum, gain) => sum + (gain - mean) ** 2, 0) / Math.max(1, values.length - 1);
  return { mean, standardError: Math.sqrt(variance / values.length) };
}

const average = (values: readonly number[]): number =>
  values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
