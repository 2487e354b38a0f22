import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UserError } from '../errors.js';
import { decodeBinHeader, encodeBinHeader, joinedShape, MAX_HEADER_BYTES } from './bin-file.js';

const extent = fc.integer({ min: 1, max: 2 ** 31 - 1 });

/** A whole small file of zeros. */
const file = (header: Buffer, values: number): Buffer => Buffer.concat([header, Buffer.alloc(4 * values)]);

describe('headers of bin files', () => {
  it('are little-endian int32', () => {
    expect([...encodeBinHeader(510, [2, 3, 4, 258])]).toEqual([
      ...[254, 1, 0, 0],
      ...[2, 0, 0, 0],
      ...[3, 0, 0, 0],
      ...[4, 0, 0, 0],
      ...[2, 1, 0, 0],
    ]);
    expect([...encodeBinHeader(610, [7])]).toEqual([98, 2, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0]);
  });

  it('come back the same, whatever the shape', () => {
    const shapes = fc.oneof(
      fc.tuple(fc.constant(510 as const), fc.array(extent, { minLength: 4, maxLength: 4 })),
      fc.tuple(fc.constant(610 as const), fc.array(extent, { minLength: 1, maxLength: 16 })),
    );
    fc.assert(
      fc.property(shapes, ([format, shape]) => {
        const head = encodeBinHeader(format, shape);
        const elements = shape.reduce((product, size) => product * size, 1);
        fc.pre(Number.isSafeInteger(4 * elements + head.length));
        expect(decodeBinHeader(head, head.length + 4 * elements, 'x.bin')).toEqual({
          format,
          shape,
          offset: head.length,
        });
      }),
    );
  });

  it('of any bytes are read or refused, and what is read fits the length', () => {
    const words = fc.array(fc.oneof(fc.constantFrom(510, 610, 0, 1, 2, 4), fc.integer()), { maxLength: 20 });
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: MAX_HEADER_BYTES }),
      words.map((values) => new Uint8Array(Int32Array.from(values).buffer)),
    );
    fc.assert(
      fc.property(bytes, fc.nat(4096), (head, more) => {
        try {
          const size = head.length + more;
          const { shape, offset } = decodeBinHeader(Buffer.from(head), size, 'x.bin');
          expect(offset + 4 * shape.reduce((product, extents) => product * extents, 1)).toBe(size);
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          expect(error.code).toBe('BIN_BROKEN');
        }
      }),
      { numRuns: 5000 },
    );
  });

  it.each([
    [Buffer.alloc(0), /ends inside the header/],
    [Buffer.from([254, 1, 0, 0, 1, 0, 0, 0]), /ends inside the header/],
    [file(Buffer.from([255, 1, 0, 0]), 9), /starts with 511/],
    [file(Buffer.from([98, 2, 0, 0, 0, 0, 0, 0]), 4), /rank 0/],
    [file(Buffer.from([98, 2, 0, 0, 17, 0, 0, 0]), 40), /rank 17/],
    [file(encodeBinHeader(610, [2, 3]), 5), /takes 24 bytes of float32, but 20 follow/],
    [file(encodeBinHeader(510, [1, 1, 2, 2]), 5), /takes 16 bytes of float32, but 20 follow/],
    [Buffer.from([98, 2, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255]), /shape \[-1\]/],
  ])('names what is wrong: %#', (bytes, message) => {
    const head = bytes.subarray(0, MAX_HEADER_BYTES);
    expect(() => decodeBinHeader(head, bytes.length, 'x.bin')).toThrow(message);
  });

  it.each([
    [510, [3, 4, 5], /kind 510 cannot hold the shape \[3, 4, 5\]/],
    [610, [], /cannot hold/],
    [610, [0, 3], /cannot hold/],
    [610, [2 ** 31], /cannot hold/],
  ] as const)('are not written for %s and %j', (format, shape, message) => {
    expect(() => encodeBinHeader(format, shape)).toThrow(message);
  });
});

describe('joinedShape', () => {
  it('joins along the first dimension or stacks', () => {
    expect(joinedShape([2, 3], 4, false)).toEqual([8, 3]);
    expect(joinedShape([2, 3], 4, true)).toEqual([4, 2, 3]);
  });
});
