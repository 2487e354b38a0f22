import { resolve } from 'node:path';
import { sizeSchema } from '../config/data.js';
import { EXIT, UserError } from '../errors.js';
import { isTargetFile } from '../target/names.js';
import { PRECISION_NAMES, type Precision } from '../target/precision.js';

const usage = (flag: string, expected: string, found: string): UserError =>
  new UserError('USAGE', `${flag} cannot be read.`, { exitCode: EXIT.usage, expected, found });

/** Full-width punctuation that input methods leave behind, and the ASCII character that was meant. */
const FULL_WIDTH = /[：，；]/u;

/** Dimensions of an input, under its name. */
export interface NamedShape {
  name: string;
  dims: number[];
}

/**
 * `x:1,3,224,224;mask:1,77` as a list in the order of the text.
 * @param flag named in errors
 */
export function parseNamedShapes(flag: string, text: string): NamedShape[] {
  const expected = 'name:dim,dim,… with several inputs separated by ";", e.g. "x:1,3,224,224"';
  if (FULL_WIDTH.test(text))
    throw usage(flag, `${expected}; plain ":" "," ";"`, `full-width punctuation in "${text}"`);
  const shapes: NamedShape[] = [];
  for (const part of text.split(';').filter((entry) => entry.trim() !== '')) {
    const at = part.lastIndexOf(':');
    const name = part.slice(0, at).trim();
    const dims = part
      .slice(at + 1)
      .split(',')
      .map((dim) => dim.trim());
    if (at < 1 || !dims.every((dim) => /^[1-9]\d*$/.test(dim))) throw usage(flag, expected, `"${part}"`);
    if (shapes.some((shape) => shape.name === name)) throw usage(flag, 'each input once', `"${name}" twice`);
    shapes.push({ name, dims: dims.map(Number) });
  }
  return shapes;
}

/**
 * `--input-shape "x:1,3,224,224;mask:1,77"`.
 * @returns dimensions by input name
 */
export function parseInputShapes(text: string | undefined): Record<string, number[]> {
  if (text === undefined) return {};
  return Object.fromEntries(parseNamedShapes('--input-shape', text).map(({ name, dims }) => [name, dims]));
}

const SECONDS: Record<string, number> = { s: 1, m: 60, h: 3600 };

/** `90s`, `10m`, `1.5h`; a number alone is of minutes. @returns seconds */
export function parseDuration(flag: string, text: string): number {
  const found = /^(\d+(?:\.\d+)?)([smh]?)$/.exec(text.trim());
  const seconds = found ? Number(found[1]) * SECONDS[found[2] || 'm']! : 0;
  if (!(seconds > 0)) throw usage(flag, 'a time like 90s, 10m or 1h', text);
  return seconds;
}

/** A list joined by `;`, given once or several times; empty entries are dropped. */
export function parseList(values: readonly string[] | undefined): string[] {
  return (values ?? [])
    .flatMap((value) => value.split(';'))
    .map((value) => value.trim())
    .filter((value) => value !== '');
}

/** One number or one a channel: `127.5` or `123.7,116.3,103.5`. */
export function parseNumbers(flag: string, text: string | undefined): number | number[] | undefined {
  if (text === undefined) return undefined;
  const numbers = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (numbers.some((value) => !Number.isFinite(value)))
    throw usage(flag, 'a number, or one a channel: 123.7,116.3,103.5', text);
  if (flag === '--std' && numbers.some((value) => value <= 0)) throw usage(flag, 'numbers above 0', text);
  return numbers.length === 1 ? numbers[0]! : numbers;
}

/** A side length or a pair: `224` or `240x320` (height x width). */
export function parseSize(flag: string, text: string | undefined): number | [number, number] | undefined {
  if (text === undefined) return undefined;
  const numbers = text.split(/[x,]/).map(Number);
  const parsed = sizeSchema.safeParse(numbers.length === 1 ? numbers[0] : numbers);
  if (!parsed.success) throw usage(flag, 'a size like 224, or height x width like 240x320', text);
  return parsed.data;
}

const commaList = (text: string | undefined): string[] =>
  (text ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');

/** `--precision fp16,int8`: each once, in the order given; null when the flag is not given. */
export function parsePrecisions(text: string | undefined): Precision[] | null {
  if (text === undefined) return null;
  const names = [...new Set(commaList(text.toLowerCase()))];
  const unknown = names.find((name) => !(PRECISION_NAMES as string[]).includes(name));
  if (unknown !== undefined || names.length === 0)
    throw usage('--precision', `one or more of ${PRECISION_NAMES.join(', ')}`, unknown ?? text);
  return names as Precision[];
}

/** `--compare kirin9000,mine.yaml`: names, and files with absolute paths. */
export const parseTargets = (text: string | undefined): string[] =>
  commaList(text).map((name) => (isTargetFile(name) ? resolve(name) : name));
