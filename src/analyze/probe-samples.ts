/** Energy of each output for one sample, and of what the quantized model differs by. */
export interface SampleError {
  signal: number[];
  noise: number[];
}

/**
 * The samples to measure sensitivities on, as positions in `errors`, ascending: half of them where the quantized model
 * errs most, since a rare huge value harms few samples and those badly, the others spread evenly over the rest.
 */
export function probeSamples(errors: readonly SampleError[], count: number): number[] {
  if (errors.length <= count) return errors.map((_, index) => index);
  const ratios = errors.map(({ signal, noise }) =>
    signal.reduce((sum, energy, output) => sum + noise[output]! / (energy || 1), 0),
  );
  const byError = ratios.map((_, index) => index).sort((a, b) => ratios[b]! - ratios[a]! || a - b);
  const worst = byError.slice(0, Math.ceil(count / 2));
  const rest = byError.slice(worst.length).sort((a, b) => a - b);
  const spread = Array.from(
    { length: count - worst.length },
    (_, i) => rest[Math.floor(((i + 0.5) * rest.length) / (count - worst.length))]!,
  );
  return [...worst, ...spread].sort((a, b) => a - b);
}
