import type { OutputComparison } from '../config/verification.js';
import type { Values } from './tensors.js';

type Agreement = NonNullable<OutputComparison['agreement']>;

/** Counts equal decisions of two models over samples. */
export class AgreementAccumulator {
  private over: Agreement['over'] | undefined;
  private equal = 0;
  private count = 0;

  /** One sample's output of both models, of one shape. Outputs that decide nothing are passed over. */
  add(reference: Values, value: Values): void {
    const { shape } = reference;
    const classes = shape[1] ?? 0;
    if (reference.integer) {
      this.addElements(reference.data, value.data);
    } else if (classes > 1 && shape.slice(2).every((size) => size === 1)) {
      this.addArgmax('rows', reference, value, classes, 1);
    } else if (classes > 1 && shape.length === 4) {
      this.addArgmax('pixels', reference, value, classes, shape[2]! * shape[3]!);
    }
  }

  result(): Agreement | null {
    return this.over && this.count > 0
      ? { over: this.over, share: this.equal / this.count, count: this.count }
      : null;
  }

  private addElements(reference: ArrayLike<number>, value: ArrayLike<number>): void {
    this.over = 'elements';
    for (let i = 0; i < reference.length; i++) if (reference[i] === value[i]) this.equal++;
    this.count += reference.length;
  }

  private addArgmax(over: Agreement['over'], a: Values, b: Values, classes: number, pixels: number): void {
    this.over = over;
    const first = argmaxOverAxis1(a.data, classes, pixels);
    const second = argmaxOverAxis1(b.data, classes, pixels);
    for (let i = 0; i < first.length; i++) if (first[i] === second[i]) this.equal++;
    this.count += first.length;
  }
}

/**
 * Index of the largest value along axis 1 of [N, classes, pixels]; the first of equal ones. NaN never wins.
 * @returns [N, pixels]
 */
export function argmaxOverAxis1(data: ArrayLike<number>, classes: number, pixels: number): Int32Array {
  const batch = data.length / (classes * pixels);
  const best = new Int32Array(batch * pixels);
  const values = new Float64Array(pixels);
  for (let n = 0; n < batch; n++) {
    values.fill(Number.NEGATIVE_INFINITY);
    for (let c = 0; c < classes; c++) {
      // Class after class, so that memory is read in order.
      const start = (n * classes + c) * pixels;
      for (let p = 0; p < pixels; p++) {
        const value = data[start + p]!;
        if (value > values[p]!) {
          values[p] = value;
          best[n * pixels + p] = c;
        }
      }
    }
  }
  return best;
}
