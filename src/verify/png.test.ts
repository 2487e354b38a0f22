import { describe, expect, it } from 'vitest';
import { png } from '../../test/helpers/array-files.js';
import { decodePng } from './png.js';

describe('decodePng', () => {
  it('undoes every filter', () => {
    const rows = [
      [0, 10, 20, 30],
      [1, 5, 5, 5],
      [2, 1, 1, 1],
      [3, 10, 10, 10],
      [4, 1, 2, 3],
    ];
    expect([...decodePng(png(3, rows)).samples]).toEqual([
      ...[10, 20, 30],
      ...[5, 10, 15],
      ...[6, 11, 16],
      // Average: 10 + ⌊6/2⌋, 10 + ⌊(13+11)/2⌋, 10 + ⌊(22+16)/2⌋.
      ...[13, 22, 29],
      // Paeth: up for the first; then the nearest of left, up, corner to left + up − corner.
      ...[14, 24, 32],
    ]);
  });

  it('unpacks small depths and keeps palette indices', () => {
    expect([...decodePng(png(3, [[0, 0b00_01_10_11]], { depth: 2, color: 3 })).samples]).toEqual([0, 1, 2]);
    expect([...decodePng(png(2, [[0, 0x9a]], { depth: 4 })).samples]).toEqual([9, 10]);
  });

  it('refuses what it cannot read', () => {
    expect(() => decodePng(Buffer.from('GIF89a'))).toThrowError(/not a PNG/);
    expect(() => decodePng(png(1, [[0, 1]], { color: 5 }))).toThrowError(/colour type 5/);
    expect(() => decodePng(png(1, [[0, 1]], { color: 2, depth: 4 }))).toThrowError(/colour type 2, 4 bits/);
    expect(() => decodePng(png(1, [[0, 1]], { interlace: 1 }))).toThrowError(/interlaced/);
    expect(() => decodePng(png(4, [[0, 1]]))).toThrowError(/cut short/);
    expect(() => decodePng(png(1, [[0, 1, 2, 3]]))).toThrowError(/more pixels/);
    expect(() => decodePng(png(1, [[7, 1]]))).toThrowError(/filter 7/);
    expect(() => decodePng(png(1, [[0, 1]]).subarray(0, 50))).toThrowError(/cut short/);
  });

  it('takes the bytes of a pixel apart, whatever its channels', () => {
    // Sub and Paeth go back by a whole pixel: three bytes here.
    const rows = [
      [1, 10, 20, 30, 1, 2, 3],
      [4, 1, 1, 1, 1, 1, 1],
    ];
    expect(decodePng(png(2, rows, { color: 2 }))).toMatchObject({
      channels: 3,
      samples: Uint8Array.of(...[10, 20, 30, 11, 22, 33], ...[11, 21, 31, 12, 23, 34]),
    });
    const deep = decodePng(png(2, [[0, 1, 0, 255, 255]], { depth: 16 }));
    expect(deep).toMatchObject({ depth: 16, samples: Uint16Array.of(256, 65535) });
    expect(decodePng(png(1, [[0, 1, 2, 3, 4]], { color: 6 }))).toMatchObject({ channels: 4 });
  });

  it('keeps the palette', () => {
    const { palette } = decodePng(png(1, [[0, 1]], { color: 3, palette: [0, 0, 0, 9, 8, 7] }));
    expect(palette).toEqual(Uint8Array.of(0, 0, 0, 9, 8, 7));
  });
});
