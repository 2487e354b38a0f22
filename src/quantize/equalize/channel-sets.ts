/** The set of channels that keep their scale. */
export const FIXED = 0;

/**
 * Disjoint sets of channels that take one scale (union by the smaller number, with path halving: Tarjan and van Leeuwen
 * 1984). Set 0 is `FIXED`: what joins it is not scaled.
 */
export class ChannelSets {
  private readonly parents: number[] = [FIXED];

  /** Channels that nothing ties yet. */
  fresh(count: number): Int32Array {
    return Int32Array.from({ length: count }, () => this.parents.push(this.parents.length) - 1);
  }

  find(channel: number): number {
    let at = channel;
    while (this.parents[at] !== at) {
      this.parents[at] = this.parents[this.parents[at]!]!;
      at = this.parents[at]!;
    }
    return at;
  }

  /** Ties channels one by one. */
  tie(a: Int32Array, b: Int32Array): void {
    a.forEach((channel, index) => {
      const [first, second] = [this.find(channel), this.find(b[index]!)];
      this.parents[Math.max(first, second)] = Math.min(first, second);
    });
  }

  /** Lets channels keep their scale. */
  fix(channels: Int32Array): void {
    this.tie(channels, new Int32Array(channels.length));
  }

  /** The sets of channels, by number. */
  setsOf(channels: Int32Array): Int32Array {
    return channels.map((channel) => this.find(channel));
  }

  get size(): number {
    return this.parents.length;
  }
}
