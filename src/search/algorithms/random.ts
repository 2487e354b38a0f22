/**
 * Random numbers that are functions of their place: Philox4x32 with ten rounds (Salmon et al., "Parallel random numbers:
 * as easy as 1, 2, 3", SC 2011, section 3.3). Nothing has to be kept or restored: whoever asks for the numbers of a
 * (seed, generation, index) gets the same ones, in whatever order, on whatever machine.
 */
export class Draws {
  private block = 0;
  private left = 0;
  private readonly words = new Uint32Array(4);

  /**
   * @param seed a whole number from 0 to 2^53 − 1
   * @param generation and index: what the numbers are for, from 0 to 2^32 − 1
   * @param stream tells purposes apart that share both
   */
  constructor(
    private readonly seed: number,
    private readonly generation: number,
    private readonly index: number,
    private readonly stream = 0,
  ) {}

  /** A number in [0, 1), a multiple of 2^−32. */
  next(): number {
    if (this.left === 0) {
      this.words.set([this.block++, this.index, this.generation, this.stream]);
      philox(this.words, this.seed >>> 0, Math.floor(this.seed / 2 ** 32) >>> 0);
      this.left = 4;
    }
    return this.words[--this.left]! / 2 ** 32;
  }

  /** A whole number in 0 … count − 1. */
  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  /** One of some values. */
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }

  /** A number from the standard normal distribution (Box, Muller, 1958). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }
}

const ROUNDS = 10;
const [MULTIPLIER_0, MULTIPLIER_1] = [0xd2511f53, 0xcd9e8d57];
const [WEYL_0, WEYL_1] = [0x9e3779b9, 0xbb67ae85];

/** Turns a counter of four words into four random words, in place. */
export function philox(words: Uint32Array, key0: number, key1: number): void {
  let [c0, c1, c2, c3] = words as unknown as [number, number, number, number];
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = highProduct(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const high1 = highProduct(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ key0) >>> 0, low1 >>> 0, (high0 ^ c3 ^ key1) >>> 0, low0 >>> 0];
    key0 = (key0 + WEYL_0) >>> 0;
    key1 = (key1 + WEYL_1) >>> 0;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

/** The upper 32 bits of a product of two words; every sum in between is exact in a double. */
function highProduct(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = aHigh * bLow + aLow * bHigh + Math.floor((aLow * bLow) / 65536);
  return aHigh * bHigh + Math.floor(middle / 65536);
}
