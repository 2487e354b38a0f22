import { isMap, isScalar, type Pair, parseDocument } from 'yaml';
import type { Factors, Target } from '../../config/target.js';

/**
 * The text of a profile with another calibration, and the source that it names; all else, comments included, stays as it is.
 *
 * @param text of a profile that can be read
 */
export function withCalibration(
  text: string,
  calibration: NonNullable<Target['calibration']>,
  source: { name: string; text: string },
): string {
  const without = cut(text, ['calibration']).trimEnd();
  const cleaned = cut(`${without}\n`, ['sources', source.name]);
  const named = cleaned.replace(
    /^sources:[^\S\n]*\n/m,
    `$&  ${source.name}: ${JSON.stringify(source.text)}\n`,
  );
  const sections = Object.entries(calibration).map(
    ([precision, factors]) => `  ${precision}:\n${factorLines(factors).join('\n')}`,
  );
  return `${named.trimEnd()}\ncalibration:\n${sections.join('\n')}\n`;
}

function factorLines(factors: Factors): string[] {
  return Object.entries(factors).map(([name, value]) => {
    if (typeof value !== 'object') return `    ${name}: ${value}`;
    const inner = Object.entries(value).map(([key, one]) => `${key}: ${one}`);
    return `    ${name}: { ${inner.join(', ')} }`;
  });
}

/** The text without the setting at a path, with the lines it stands on. */
function cut(text: string, path: readonly string[]): string {
  let node: unknown = parseDocument(text).contents;
  let pair: Pair | undefined;
  for (const key of path) {
    pair = isMap(node) ? node.items.find((item) => isScalar(item.key) && item.key.value === key) : undefined;
    node = pair?.value;
  }
  if (!pair || !isScalar(pair.key) || !pair.key.range) return text;
  const from = text.lastIndexOf('\n', pair.key.range[0]) + 1;
  const value = node as { range?: [number, number, number] } | null;
  const to = value?.range?.[2] ?? pair.key.range[2];
  return text.slice(0, from) + text.slice(to);
}
