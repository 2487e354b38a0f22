import { type JobEvent, jobEventSchema } from './protocol.js';

/** A line longer than this is no event of ours; answers with a hundred thousand names stay well below. */
const MAX_LINE_BYTES = 256 * 1024 * 1024;

const NEWLINE = 0x0a;

/**
 * Cuts a byte stream into lines and hands out those that are events. Anything else (text of a framework that found fd 3,
 * half a line, broken UTF-8) goes to `onGarbage` and never throws.
 */
export class EventReader {
  readonly #onEvent: (event: JobEvent) => void;
  readonly #onGarbage: (line: string) => void;
  readonly #maxLineBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;
  #skipping = false;

  constructor(
    onEvent: (event: JobEvent) => void,
    onGarbage: (line: string) => void = () => {},
    maxLineBytes = MAX_LINE_BYTES,
  ) {
    this.#onEvent = onEvent;
    this.#onGarbage = onGarbage;
    this.#maxLineBytes = maxLineBytes;
  }

  push(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.#keep(chunk.subarray(start, end));
      this.#line();
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
  }

  /** Call when the stream has ended: a last line without its end is garbage, for a writer may have died within it. */
  end(): void {
    if (this.#bytes > 0) this.#onGarbage(this.#take());
  }

  #keep(part: Buffer): void {
    if (part.length === 0 || this.#skipping) return;
    this.#parts.push(part);
    this.#bytes += part.length;
    if (this.#bytes > this.#maxLineBytes) {
      this.#onGarbage(this.#take().slice(0, 200));
      this.#skipping = true;
    }
  }

  #take(): string {
    const text = Buffer.concat(this.#parts).toString('utf8');
    this.#parts = [];
    this.#bytes = 0;
    return text;
  }

  #line(): void {
    if (this.#skipping) {
      this.#skipping = false;
      return;
    }
    if (this.#bytes === 0) return;
    const text = this.#take();
    const event = parseEvent(text);
    if (event === undefined) this.#onGarbage(text);
    else this.#onEvent(event);
  }
}

function parseEvent(text: string): JobEvent | undefined {
  try {
    const parsed = jobEventSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
