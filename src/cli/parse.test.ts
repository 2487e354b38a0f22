import { describe, expect, it } from 'vitest';
import { parseDuration, parseInputShapes, parseList, parseNumbers, parseSize } from './parse.js';

describe('parseDuration', () => {
  it('reads seconds, minutes and hours; minutes where nothing is said', () => {
    expect(['90s', '10m', '1.5h', '2'].map((text) => parseDuration('--budget', text))).toEqual([
      90, 600, 5400, 120,
    ]);
  });

  it.each(['', 'soon', '0m', '-5m', '10 minutes', '1h30'])('refuses %s', (text) => {
    expect(() => parseDuration('--budget', text)).toThrow(
      expect.objectContaining({ exitCode: 2, message: expect.stringContaining('--budget') }),
    );
  });
});

describe('parseInputShapes', () => {
  it('reads one or several inputs, also with a colon in the name', () => {
    expect(parseInputShapes('x:1,3,224,224; a:0:1,77')).toEqual({ x: [1, 3, 224, 224], 'a:0': [1, 77] });
    expect(parseInputShapes(undefined)).toEqual({});
  });

  it.each(['x', ':1,2', 'x:1,,2', 'x:0,3', 'x:1,-3', 'x:1;x:2', 'x:1.5'])('refuses %s', (text) => {
    expect(() => parseInputShapes(text)).toThrow(expect.objectContaining({ exitCode: 2 }));
  });

  it('names full-width punctuation', () => {
    expect(() => parseInputShapes('x：1，3')).toThrow(
      expect.objectContaining({ found: expect.stringMatching(/full-width/) }),
    );
  });
});

describe('other parsers', () => {
  it('joins lists given several times', () => {
    expect(parseList(['a;b', ' c ;'])).toEqual(['a', 'b', 'c']);
  });

  it('reads numbers and refuses what is none', () => {
    expect(parseNumbers('--mean', '127.5')).toBe(127.5);
    expect(parseNumbers('--mean', '1,2,3')).toEqual([1, 2, 3]);
    expect(() => parseNumbers('--mean', '1,,3')).toThrow();
    expect(() => parseNumbers('--std', '0')).toThrow();
  });

  it('reads sizes', () => {
    expect(parseSize('--crop', '224')).toBe(224);
    expect(parseSize('--resize', '240x320')).toEqual([240, 320]);
    expect(() => parseSize('--crop', '-1')).toThrow();
    expect(() => parseSize('--crop', '1x2x3')).toThrow();
  });
});
