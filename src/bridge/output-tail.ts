/** The last bytes of a stream, for an error message; older ones are dropped in whole chunks. */
export class OutputTail {
  readonly #limit: number;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(limit = 64 * 1024) {
    this.#limit = limit;
  }

  push(chunk: Buffer): void {
    const part = chunk.length > this.#limit ? chunk.subarray(chunk.length - this.#limit) : chunk;
    this.#chunks.push(part);
    this.#bytes += part.length;
    while (this.#bytes - this.#chunks[0]!.length >= this.#limit) this.#bytes -= this.#chunks.shift()!.length;
  }

  /** The kept text; bytes that are not UTF-8 become replacement characters. */
  text(): string {
    return Buffer.concat(this.#chunks).subarray(-this.#limit).toString('utf8');
  }

  /** The last `count` lines that are not empty, for one glance. */
  lastLines(count: number): string {
    const lines = this.text().split(/\r?\n|\r/);
    return lines
      .filter((line) => line.trim() !== '')
      .slice(-count)
      .join('\n');
  }
}
