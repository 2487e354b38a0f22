import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OutputTail } from './output-tail.js';

describe('OutputTail', () => {
  it('keeps exactly the last bytes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string(), { maxLength: 30 }),
        fc.integer({ min: 1, max: 50 }),
        (parts, limit) => {
          const text = parts.join('').replace(/[^ -~]/g, '?');
          const tail = new OutputTail(limit);
          for (const part of parts) tail.push(Buffer.from(part.replace(/[^ -~]/g, '?')));
          expect(tail.text()).toBe(text.slice(-limit));
        },
      ),
    );
  });

  it('gives the last lines that say something', () => {
    const tail = new OutputTail();
    tail.push(Buffer.from('one\n\ntwo\r\n  \nthree\n'));
    expect(tail.lastLines(2)).toBe('two\nthree');
  });
});
