import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Target, targetSchema } from '../config/target.js';
import { readTextFileSync } from '../config/text-file.js';
import { parseYaml, type YamlKind } from '../config/yaml.js';
import { EXIT, UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';
import { isTargetFile } from './names.js';

/** What a profile is, for its errors. */
export const TARGET: YamlKind = {
  code: 'TARGET_INVALID',
  never: 'no target profile',
  advice: 'Give a YAML file, or a name that `dopt target list` prints.',
  check: 'Mend the file; `dopt target show FILE` reads it alone.',
};

/** The folder of the profiles that come with dopt, from src/ and from dist/ alike. */
const shippedFolder = (): string => fileURLToPath(new URL('../../targets', import.meta.url));

/** Names of the targets that come with dopt, sorted. */
export const targetNames = (): string[] =>
  readdirSync(shippedFolder())
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => basename(file, '.yaml'))
    .sort();

/**
 * The file of a target, by the name of one that comes with dopt, or by path (which need not exist).
 * @throws UserError TARGET_UNKNOWN, with near matches
 */
export function findTarget(nameOrPath: string): string {
  if (isTargetFile(nameOrPath)) return nameOrPath;
  const names = targetNames();
  if (names.includes(nameOrPath)) return join(shippedFolder(), `${nameOrPath}.yaml`);
  throw new UserError('TARGET_UNKNOWN', `dopt knows no target "${nameOrPath}".`, {
    exitCode: EXIT.usage,
    expected: `${names.join(', ')}, or the path of a YAML file`,
    suggestions: nearMatches(nameOrPath, names, 1).map((name) => `Did you mean ${name}?`),
  });
}

/**
 * The profile of a target.
 * @throws UserError TARGET_UNKNOWN, TARGET_INVALID (with file, line and column)
 */
export function loadTarget(nameOrPath: string): Target {
  const path = findTarget(nameOrPath);
  const text = readTextFileSync(path, TARGET);
  return (
    (isTargetFile(nameOrPath) ? null : built(nameOrPath, text)) ?? parseYaml(text, path, targetSchema, TARGET)
  );
}

/** The profile that the build has read from the same text; null where it has not. */
function built(name: string, text: string): Target | null {
  const file = new URL(`../targets/${name}.json`, import.meta.url);
  if (!existsSync(file)) return null;
  const read = JSON.parse(readFileSync(file, 'utf8')) as { text: string; target: Target };
  return read.text === text ? read.target : null;
}
