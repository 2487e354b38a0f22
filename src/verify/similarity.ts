import type { JsonNumber } from '../config/common.js';
import type { Similarity } from '../config/verification.js';

/** Adds up the distance between a float tensor and its quantized form, sample by sample, in double precision. */
export class SimilarityAccumulator {
  private signal = 0;
  private noise = 0;
  private cosines = 0;
  private samples = 0;
  private largest = 0;
  private elements = 0;
  private nonFinite = 0;

  /**
   * One sample. Both have the same length; elements that are NaN or infinite in either are counted and left out.
   * @returns the sample's own sums of value² and of (value − quantized value)²
   */
  add(reference: ArrayLike<number>, value: ArrayLike<number>): { signal: number; noise: number } {
    let signal = 0;
    let noise = 0;
    let power = 0;
    let dot = 0;
    let largest = this.largest;
    let skipped = 0;
    for (let i = 0; i < reference.length; i++) {
      const a = reference[i]!;
      const b = value[i]!;
      const difference = a - b;
      // Infinite minus infinite is NaN, so one test on the difference finds every pair that is not finite.
      if (!Number.isFinite(difference)) {
        skipped++;
        continue;
      }
      signal += a * a;
      power += b * b;
      dot += a * b;
      noise += difference * difference;
      const distance = Math.abs(difference);
      if (distance > largest) largest = distance;
    }
    this.signal += signal;
    this.noise += noise;
    this.cosines += signal === 0 && power === 0 ? 1 : dot / Math.sqrt(signal * power) || 0;
    this.samples++;
    this.largest = largest;
    this.elements += reference.length - skipped;
    this.nonFinite += skipped;
    return { signal, noise };
  }

  result(): Similarity {
    return {
      sqnr: jsonNumber(sqnr(this.signal, this.noise)),
      cosine: jsonNumber(this.samples > 0 ? this.cosines / this.samples : Number.NaN),
      signal: this.signal,
      noise: this.noise,
      maxAbsoluteError: this.largest,
      elements: this.elements,
      nonFinite: this.nonFinite,
    };
  }
}

/** Signal-to-noise ratio in dB of two energies; Infinity without noise, −Infinity for noise on silence. */
export function sqnr(signal: number, noise: number): number {
  return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise);
}

/** A number as JSON can hold it. */
export function jsonNumber(value: number): JsonNumber {
  return Number.isFinite(value) ? value : (String(value) as JsonNumber);
}
