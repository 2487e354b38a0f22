import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { EnvironmentError } from '../../errors.js';
import { PRODUCT_ROOT } from '../child-environment.js';
import { OutputTail } from '../output-tail.js';
import { lockPath, PROFILE_SPECS, type Profile } from '../profiles.js';
import { PythonFailure } from '../python-errors.js';
import { type ImageName, profileOf } from './dockerfile.js';
import type { Engine } from './engine.js';

/** The image that runs a profile: the newest packages come with the CUDA core where there are GPUs. */
export const imageFor = (profile: Profile, gpus: string | null): ImageName =>
  profile === 'current' && gpus !== null ? 'cuda' : profile;

/**
 * Name and tag of an image: the tag is a digest of all that it is made from, so that another version of dopt, of the locked
 * packages or of the native core never runs in an old image.
 */
export async function imageTag(name: ImageName): Promise<string> {
  const lock = PROFILE_SPECS[profileOf(name)].locks[0]!;
  const folders = name === 'cuda' ? ['native', 'native/cuda'] : ['native'];
  const sources = await Promise.all(
    folders.flatMap((folder) => ['include', 'src'].map((part) => filesOf(join(PRODUCT_ROOT, folder, part)))),
  );
  const hash = createHash('sha256');
  for (const file of [dockerfilePath(name), lockPath(lock), ...sources.flat()]) {
    hash.update(`${file.slice(PRODUCT_ROOT.length)}\n`).update(await readFile(file));
  }
  return `dopt-${name}:${hash.digest('hex').slice(0, 12)}`;
}

const dockerfilePath = (name: ImageName): string => join(PRODUCT_ROOT, 'docker', `${name}.Dockerfile`);

async function filesOf(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return [];
  return (await readdir(folder)).sort().map((name) => join(folder, name));
}

/**
 * The image of that name, built where it is not there yet; its name with tag. DOPT_IMAGE names another one, which is taken
 * as it is.
 * @throws EnvironmentError IMAGE_BUILD_FAILED, IMAGE_MISSING
 */
export async function ensureImage(
  engine: Engine,
  name: ImageName,
  say: (line: string) => void,
): Promise<{ image: string; id: string }> {
  const named = process.env.DOPT_IMAGE || undefined;
  const image = named ?? (await imageTag(name));
  const present = await imageId(engine, image);
  if (present !== null) return { image, id: present };
  if (named !== undefined) {
    throw new EnvironmentError('IMAGE_MISSING', `${engine.command} has no image ${named}.`, {
      expected: 'the image that DOPT_IMAGE names',
      suggestions: ['Pull it first, or unset DOPT_IMAGE to have one built.'],
    });
  }
  say(`Building the image ${image} from docker/${name}.Dockerfile with ${engine.name} ${engine.version}.`);
  await build(engine, name, image, say);
  return { image, id: (await imageId(engine, image)) ?? image };
}

/** Digest of an image's configuration; null where it is not there. */
async function imageId(engine: Engine, image: string): Promise<string | null> {
  const { execa } = await import('execa');
  const args = ['image', 'inspect', '--format', '{{.Id}}', image];
  const result = await execa(engine.command, args, { stdin: 'ignore', reject: false, timeout: 60_000 });
  return result.failed ? null : result.stdout.trim();
}

const STEP_LINES = /^(STEP|Step|#\d+ \[|COMMIT|Successfully)/;

/** DOPT_BUILD_ARGS adds arguments to the engine's `build`, separated by spaces: a mirror, a proxy, another base image. */
async function build(
  engine: Engine,
  name: ImageName,
  image: string,
  say: (line: string) => void,
): Promise<void> {
  const { execa } = await import('execa');
  const more = (process.env.DOPT_BUILD_ARGS ?? '').split(/\s+/).filter((word) => word !== '');
  const args = [
    'build',
    '--file',
    dockerfilePath(name),
    '--target',
    'stage',
    '--tag',
    image,
    ...more,
    PRODUCT_ROOT,
  ];
  const tail = new OutputTail();
  const child = execa(engine.command, args, { stdin: 'ignore', all: true, buffer: false, reject: false });
  const lines = createInterface({ input: child.all as unknown as Readable });
  lines.on('line', (line) => {
    tail.push(Buffer.from(`${line}\n`));
    if (STEP_LINES.test(line)) say(line.slice(0, 120));
  });
  const result = await child;
  lines.close();
  if (!result.failed) return;
  throw new EnvironmentError('IMAGE_BUILD_FAILED', `The image ${image} could not be built.`, {
    place: dockerfilePath(name),
    found: tail.lastLines(8) || (result.shortMessage ?? 'the engine could not be started'),
    cause: new PythonFailure(`${engine.command} ${args.join(' ')}`, '', tail.text()),
    suggestions: [
      'Check the network: base images come from Docker Hub, packages from PyPI and Debian.',
      'Behind a mirror, give the engine more arguments: DOPT_BUILD_ARGS="--build-arg PYTHON_BASE=…".',
      'Run without containers: leave --env docker out.',
    ],
  });
}
