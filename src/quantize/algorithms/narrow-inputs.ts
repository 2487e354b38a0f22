/**
 * Least SQNR in dB, at the output of the first layer, that 8 bits of a network's input leave without a word: one bit, 6 dB,
 * less than the 40.3 dB that a uniform grid of 8 bits keeps of normally distributed values (J. Max, "Quantizing for Minimum
 * Distortion", IRE Transactions on Information Theory 6, 1960, continued to 256 levels). Pictures keep 40 to 51, the MFCC
 * of speech 25 to 33.
 */
export const LEAST_INPUT_SQNR = 34;

/** What the refinement walk measured at a layer. */
export interface MeasuredLayer {
  name: string;
  /** The network's input that the layer reads; null where it reads something else. */
  input: string | null;
  /** Mean square of the layer's output, and of its error with everything before it quantized. */
  power: number;
  error: number;
}

/** An input of the network that 8 bits are too few for. */
export interface NarrowInput {
  input: string;
  /** The layer that loses most by it, and what is left there in dB. */
  layer: string;
  sqnr: number;
}

/**
 * Inputs whose values a grid of 8 bits serves badly: a few large ones stretch it. Nothing is quantized before a layer that
 * reads an input, so that its error is the input's, once its weights are solved.
 */
export function narrowInputs(layers: readonly MeasuredLayer[]): NarrowInput[] {
  const worst = new Map<string, NarrowInput>();
  for (const { name, input, power, error } of layers) {
    if (input === null || !(power > 0) || !(error > 0)) continue;
    const sqnr = 10 * Math.log10(power / error);
    if (sqnr < Math.min(LEAST_INPUT_SQNR, worst.get(input)?.sqnr ?? Number.POSITIVE_INFINITY))
      worst.set(input, { input, layer: name, sqnr });
  }
  return [...worst.values()];
}
