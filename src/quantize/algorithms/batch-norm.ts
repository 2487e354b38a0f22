/**
 * Folding of batch normalization into the layer before it (Jacob et al., arXiv 1712.05877, section 3.2):
 *   W' = W · γ / √(σ² + ε),   b' = (b − μ) · γ / √(σ² + ε) + β.
 */
export interface BatchNormParameters {
  /** γ, β, μ and σ², one value an output channel. */
  gamma: Float32Array;
  beta: Float32Array;
  mean: Float32Array;
  variance: Float32Array;
  epsilon: number;
}

/**
 * @param weight row-major weight, `channelOf(i)` tells the output channel that element i belongs to
 * @param bias one value an output channel
 * @returns new arrays; computed in double precision and rounded once
 */
export function foldBatchNorm(
  weight: Float32Array,
  bias: Float32Array,
  channelOf: (index: number) => number,
  { gamma, beta, mean, variance, epsilon }: BatchNormParameters,
): { weight: Float32Array; bias: Float32Array } {
  const gain = Float64Array.from(gamma, (g, c) => g / Math.sqrt(variance[c]! + epsilon));
  return {
    weight: weight.map((w, i) => w * gain[channelOf(i)]!),
    bias: bias.map((b, c) => (b - mean[c]!) * gain[c]! + beta[c]!),
  };
}
