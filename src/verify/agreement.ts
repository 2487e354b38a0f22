import type { Preprocess } from '../config/data.js';
import type { OutputComparison } from '../config/verification.js';
import { RatioAccumulator } from './ratio.js';
import type { Values } from './tensors.js';

type Agreement = NonNullable<OutputComparison['agreement']>;
export type Layout = Preprocess['layout'];

/** Counts equal decisions of two models over samples. */
export class AgreementAccumulator {
  private over: Agreement['over'] | undefined;
  private readonly decisions = new RatioAccumulator();
  private count = 0;

  /** @param layout where an output of pixels has its classes */
  constructor(private readonly layout: Layout = 'nchw') {}

  /** One sample's output of both models, of one shape. Outputs that decide nothing are passed over. */
  add(reference: Values, value: Values): void {
    const { shape } = reference;
    if (reference.integer) {
      this.compare('elements', reference.data, value.data);
    } else if ((shape[1] ?? 0) > 1 && shape.slice(2).every((size) => size === 1)) {
      this.compare('rows', ...bothDecide(reference, value, 'nchw'));
    } else if (shape.length === 4 && shape[this.layout === 'nchw' ? 1 : 3]! > 1) {
      this.compare('pixels', ...bothDecide(reference, value, this.layout));
    }
  }

  result(): Agreement | null {
    const { over, count, decisions } = this;
    return over && count > 0
      ? { over, share: decisions.ratio, count, standardError: decisions.standardError }
      : null;
  }

  private compare(over: Agreement['over'], a: ArrayLike<number>, b: ArrayLike<number>): void {
    let equal = 0;
    for (let i = 0; i < a.length; i++) if (a[i] === b[i]) equal++;
    this.over = over;
    this.count += a.length;
    this.decisions.add(equal, a.length);
  }
}

const bothDecide = (a: Values, b: Values, layout: Layout): [Int32Array, Int32Array] => [
  decisions(a, layout),
  decisions(b, layout),
];

/** The largest class of each row [N, C] or pixel: [N, C, H, W], or [N, H, W, C] with layout 'nhwc'. */
export function decisions({ data, shape }: Values, layout: Layout): Int32Array {
  if (layout === 'nhwc') return argmaxOverAxis1(data, shape.at(-1)!, 1);
  const classes = shape[1]!;
  return argmaxOverAxis1(data, classes, data.length / (shape[0]! * classes));
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
