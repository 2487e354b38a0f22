/** Numbers of one kind that grow by doubling: a row a detection costs bytes, not an object. */
export class Column<A extends Float64Array | Uint32Array> {
  private data: A;
  private used = 0;

  constructor(private readonly make: (length: number) => A) {
    this.data = make(16);
  }

  push(value: number): void {
    if (this.used === this.data.length) {
      const wider = this.make(this.used * 2);
      wider.set(this.data);
      this.data = wider;
    }
    this.data[this.used++] = value;
  }

  /** What was pushed, without a copy. */
  get values(): A {
    return this.data.subarray(0, this.used) as A;
  }
}

/** Places of scores, best first; equal ones stay in their order, as with numpy's mergesort. */
export const descending = (scores: Float64Array): Uint32Array =>
  Uint32Array.from(scores, (_, i) => i).sort((a, b) => scores[b]! - scores[a]! || a - b);

/** The value of a key, made when it is not there yet. */
export function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key);
  if (found !== undefined) return found;
  const fresh = make();
  map.set(key, fresh);
  return fresh;
}

export const doubles = (): Column<Float64Array> => new Column((length) => new Float64Array(length));
export const integers = (): Column<Uint32Array> => new Column((length) => new Uint32Array(length));
