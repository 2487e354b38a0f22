import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { ensureEnvironment } from '../../src/bridge/environments.js';
import type { Profile } from '../../src/bridge/profiles.js';
import { ROOT } from './cli.js';

/** The interpreter of a framework's profile, which is made on first need. */
export const pythonOf = async (profile: Profile): Promise<string> =>
  (await ensureEnvironment(profile, 'venv', { onProgress: (line) => console.log(line) })).python;

/** Lets a script of test/fixtures write its models into `folder`. */
export async function writeModels(profile: 'tensorflow' | 'torch', folder: string): Promise<void> {
  const script = join(ROOT, `test/fixtures/${profile}_files.py`);
  execFileSync(await pythonOf(profile), [script, folder], { stdio: ['ignore', 'ignore', 'pipe'] });
}
