import { ensureEnvironment, findReady } from '../bridge/environments.js';
import { machinePlaces } from '../bridge/interpreters.js';
import type { EnvironmentKind, TorchProfile } from '../bridge/profiles.js';
import type { Environment } from '../bridge/stamps.js';

/**
 * The Python that runs language models: the profile asked for, else the newest that is already there, else `current`, whose
 * transformers knows more families. `gpu`: whether it is to see GPUs from inside of a container. Rejects as `ensureEnvironment` does.
 */
export async function llmEnvironment(
  profile: TorchProfile | null,
  kind: EnvironmentKind,
  onProgress: (line: string) => void,
  gpu = false,
): Promise<Environment> {
  if (profile !== null || kind !== 'venv') {
    return ensureEnvironment(profile ?? 'current', kind, { onProgress, gpu });
  }
  const { named } = machinePlaces(process.env.DOPT_PYTHON || undefined);
  for (const one of ['current', 'torch'] as const) {
    const ready = await findReady(one, named);
    if (ready) return ready;
  }
  return ensureEnvironment('current', kind, { onProgress });
}
