import { FEWEST_SAMPLES } from './bootstrap.js';

/**
 * The ratio of two sums over samples with its standard error over the choice of samples, by the linearization of a ratio
 * estimator (Cochran, Sampling Techniques, 3rd ed., eq. 2.46). Keeps five sums whatever the number of samples.
 */
export class RatioAccumulator {
  private samples = 0;
  private top = 0;
  private bottom = 0;
  private topSquares = 0;
  private bottomSquares = 0;
  private products = 0;

  add(top: number, bottom: number): void {
    this.samples++;
    this.top += top;
    this.bottom += bottom;
    this.topSquares += top * top;
    this.bottomSquares += bottom * bottom;
    this.products += top * bottom;
  }

  /** NaN before anything was added. */
  get ratio(): number {
    return this.top / this.bottom;
  }

  /** null with too few samples, or where the ratio is not finite. */
  get standardError(): number | null {
    const { ratio, samples } = this;
    if (samples < FEWEST_SAMPLES || !Number.isFinite(ratio)) return null;
    const residuals = this.topSquares - 2 * ratio * this.products + ratio ** 2 * this.bottomSquares;
    return Math.sqrt(((samples / (samples - 1)) * Math.max(0, residuals)) / this.bottom ** 2);
  }
}
