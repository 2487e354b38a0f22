import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runJob } from '../jobs.js';
import type { Profile } from '../profiles.js';
import { type Environment, environmentSchema } from '../stamps.js';
import { findEngine } from './engine.js';
import { ensureImage, imageFor } from './image.js';

/**
 * A profile inside of a container: the engine of this machine, and the image, built on first need. What is in the image is
 * asked once and kept in `folder` under the image's digest. It gets the GPUs that DOPT_CONTAINER_GPUS names, else all of them
 * with `gpu`. Rejects with EnvironmentError CONTAINER_ENGINE, IMAGE_…
 */
export async function containerEnvironment(
  profile: Profile,
  folder: string,
  say: (line: string) => void,
  gpu = false,
): Promise<Environment> {
  const engine = await findEngine();
  const gpus = process.env.DOPT_CONTAINER_GPUS || (gpu ? 'all' : null);
  const { image, id } = await ensureImage(engine, imageFor(profile, gpus), say);
  const digest = id.replace(/^sha256:/, '').slice(0, 12);
  const stamp = join(folder, `${profile}-${digest}.json`);
  const known = await readFile(stamp, 'utf8').catch(() => null);
  const environment: Environment = {
    profile,
    kind: 'docker',
    python: 'python',
    versions: known === null ? {} : versionsIn(known),
    digest,
    root: image,
    how: `the image ${image} in ${engine.name} ${engine.version}${gpus === null ? '' : `, GPUs: ${gpus}`}`,
    interpreter: 'python',
    createdAt: Date.now(),
    container: { engine, image, gpus },
  };
  if (Object.keys(environment.versions).length === 0) {
    const { python, packages } = await runJob(environment, 'probe', {});
    environment.versions = { python, ...packages };
    await mkdir(folder, { recursive: true });
    await writeFile(stamp, `${JSON.stringify(environment, null, 2)}\n`);
  }
  return environment;
}

/** What a stamp says; nothing where it is damaged. */
function versionsIn(text: string): Record<string, string> {
  try {
    return environmentSchema.parse(JSON.parse(text)).versions;
  } catch {
    return {};
  }
}
