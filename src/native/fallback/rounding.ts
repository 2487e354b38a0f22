/** 1.5·2⁵²: adding and taking it away rounds |v| < 2⁵¹ half to even. */
const ROUND = 6755399441055744;

/** Rounds half to even. |v| must be below 2⁵¹. */
export function roundHalfEven(v: number): number {
  return v + ROUND - ROUND;
}

/** v kept in [low, high]; NaN stays NaN. */
export function clamp(v: number, low: number, high: number): number {
  return Math.min(Math.max(v, low), high);
}
