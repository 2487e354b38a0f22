import { readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { nearMatches } from './near-match.js';

/** What to say of a path that does not exist: the name beside it that is nearest, if any is near. */
export function nearPaths(path: string): string[] {
  const folder = dirname(path);
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => name !== basename(path));
  } catch {
    return [];
  }
  return nearMatches(basename(path), names, 1).map((name) => `Did you mean ${join(folder, name)}?`);
}
