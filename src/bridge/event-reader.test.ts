import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventReader } from './event-reader.js';
import type { JobEvent } from './protocol.js';

/** Feeds chunks to a reader and returns what came out. */
function read(chunks: Iterable<Uint8Array>, maxLineBytes?: number) {
  const events: JobEvent[] = [];
  const garbage: string[] = [];
  const reader = new EventReader(
    (event) => events.push(event),
    (line) => garbage.push(line),
    maxLineBytes,
  );
  for (const chunk of chunks) reader.push(Buffer.from(chunk));
  reader.end();
  return { events, garbage };
}

const line = (value: unknown) => Buffer.from(`${JSON.stringify(value)}\n`);
const progress = (message: string): JobEvent => ({ type: 'progress', done: 1, total: null, message });

describe('EventReader', () => {
  it('finds events however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { maxLength: 8 }), fc.nat(), (messages, seed) => {
        const sent = messages.map(progress);
        const bytes = Buffer.concat(sent.map(line));
        const chunks: Buffer[] = [];
        for (let at = 0, step = seed; at < bytes.length; step = step * 31 + 7) {
          const size = 1 + (Math.abs(step) % 13);
          chunks.push(bytes.subarray(at, at + size));
          at += size;
        }
        expect(read(chunks)).toEqual({ events: sent, garbage: [] });
      }),
    );
  });

  it('never throws, whatever arrives, and still finds the event behind it', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 }), (chunks) => {
        const { events } = read([...chunks, Buffer.from('\n'), line(progress('behind'))]);
        expect(events).toContainEqual(progress('behind'));
      }),
      { numRuns: 1000 },
    );
  });

  it('never throws on JSON that is no event', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(read([Buffer.from(`${text}\n`)]).events).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  it('never throws on mutated events', () => {
    const bytes = Buffer.concat([line(progress('a')), line({ type: 'heartbeat', time: 1 })]);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 }), (at, value) => {
        const mutated = Buffer.from(bytes);
        mutated[at] = value;
        const { events, garbage } = read([mutated]);
        expect(events.length + garbage.length).toBeGreaterThan(0);
      }),
      { numRuns: 1000 },
    );
  });

  it('takes half a last line for garbage', () => {
    const { events, garbage } = read([line(progress('a')).subarray(0, 20)]);
    expect(events).toEqual([]);
    expect(garbage).toHaveLength(1);
  });

  it('drops an endless line without keeping it, and goes on behind it', () => {
    const flood = Array.from({ length: 100 }, () => Buffer.alloc(100, 'x'));
    const { events, garbage } = read([...flood, Buffer.from('\n'), line(progress('behind'))], 1000);
    expect(events).toEqual([progress('behind')]);
    expect(garbage).toHaveLength(1);
    expect(garbage[0]!.length).toBeLessThanOrEqual(200);
  });
});
