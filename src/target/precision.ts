/** Number formats that a layer may compute in: bits of its activations and of its weights. */
export const PRECISIONS = {
  fp32: { activations: 32, weights: 32, integer: false },
  fp16: { activations: 16, weights: 16, integer: false },
  int8: { activations: 8, weights: 8, integer: true },
  /** Strategy int16-8. */
  int16: { activations: 16, weights: 8, integer: true },
  /** Weights of four bits under activations of sixteen, as language models take them. */
  int4: { activations: 16, weights: 4, integer: true },
} as const;

export type Precision = keyof typeof PRECISIONS;

export const PRECISION_NAMES = Object.keys(PRECISIONS) as Precision[];
