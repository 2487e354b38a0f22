import type { Score } from '../config/verification.js';
import { errorText, figureText, unitText } from '../verify/score.js';

/** Numbers as people read them; all functions are pure and give plain text. */

const NONE = '–';

/** 1.23 MB; decimal units, as file managers show them. */
export function bytes(value: number | null): string {
  if (value === null) return NONE;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  const scaled = value / 1000 ** power;
  return `${power === 0 ? scaled : scaled.toFixed(scaled < 10 ? 2 : scaled < 100 ? 1 : 0)} ${units[power]}`;
}

/** "3.3 times smaller", or larger: what becomes of a size. */
export const timesSmaller = (before: number, after: number, digits = 1): string =>
  after > before
    ? `${(after / before).toFixed(digits)} times larger`
    : `${(before / after).toFixed(digits)} times smaller`;

/** A share from 0 to 1 in per cent; what is below 1 % keeps two digits. */
export function percent(share: number, digits = 1): string {
  const value = share * 100;
  if (value === 0) return '0 %';
  if (Math.abs(value) < 1e-3) return '< 0.001 %';
  if (Math.abs(value) < 1 && digits > 0) return `${significant(value, 2)} %`;
  return `${minus(value.toFixed(digits))} %`;
}

/** A figure that is in per cent already. */
export const points = (value: number): string => minus(value.toFixed(2));

/** A difference with its sign. */
export const signed = (value: number, unit: Score['unit'] = '%'): string =>
  `${value > 0 ? '+' : ''}${minus(figureText(value, unit))}`;

/** A figure of a metric without its unit. */
export const bareFigure = (value: number, unit: Score['unit']): string => minus(figureText(value, unit));

/** A figure of a metric with its unit, and its standard error between them where it is known: "35.77 ± 2.87 %". */
export const figure = (value: number, unit: Score['unit'], error?: number | null): string =>
  `${bareFigure(value, unit)}${plusMinus(error, unit)}${unitText(unit)}`;

/** " ± 1.20", or nothing where the standard error is not known. */
export const plusMinus = (error: number | null | undefined, unit: Score['unit'] = '%'): string =>
  error == null ? '' : ` ± ${errorText(error, unit)}`;

export function decibels(value: number, error: number | null = null): string {
  if (value === Number.POSITIVE_INFINITY) return 'no noise';
  const spread = error === null ? '' : ` ± ${error.toFixed(1)}`;
  return Number.isFinite(value) ? `${minus(value.toFixed(1))}${spread} dB` : NONE;
}

/** A value of a tensor: three or four significant digits, no needless zeros. */
export function significant(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return NONE;
  if (value === 0) return '0';
  const size = Math.abs(value);
  const text =
    size >= 1e-3 && size < 1e6 ? String(Number(value.toPrecision(digits))) : value.toExponential(digits - 2);
  return minus(text);
}

export function seconds(value: number): string {
  if (value < 100) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

/** A whole number with narrow spaces between thousands; Intl would do it as well, and takes 15 ms to start. */
export const count = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, '\u202f');

/** "1 sample", "3 samples". */
export const plural = (value: number, word: string): string =>
  `${count(value)} ${word}${value === 1 ? '' : 's'}`;

/** A long name with its middle left out: the start says where in the network, the end which tensor. */
export function shortened(name: string, most: number): string {
  if (name.length <= most) return name;
  const head = Math.floor((most - 1) / 2);
  return `${name.slice(0, head)}…${name.slice(name.length - (most - 1 - head))}`;
}

/** The typographic minus, as wide as a plus. */
const minus = (text: string): string => text.replace('-', '\u2212');

/** A large count: in millions from a million on, three significant digits where they are few. */
export function amount(value: number): string {
  if (value < 1e6) return count(value);
  return `${value >= 1e8 ? count(Math.round(value / 1e6)) : significant(value / 1e6, 3)} million`;
}

/** What a predicted time rests on. */
export const basisText = (measured: number): string =>
  measured > 0 ? `measured with ${plural(measured, 'network')}` : 'by data sheet and assumptions';

/** Seconds as milliseconds, three significant digits. */
export function milliseconds(seconds: number): string {
  const value = seconds * 1000;
  if (value === 0) return '0';
  return value >= 100
    ? value.toFixed(0)
    : value < 0.001
      ? value.toExponential(1)
      : String(Number(value.toPrecision(3)));
}
