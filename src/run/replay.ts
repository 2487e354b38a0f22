import { join } from 'node:path';
import { PRODUCT_ROOT } from '../bridge/child-environment.js';
import type { Manifest } from '../config/manifest.js';
import { ExternalError, UserError } from '../errors.js';
import { differenceOf, type ReplayDifference } from './difference.js';
import { readManifest } from './out-folder.js';

export interface ReplayOptions {
  /** The run to repeat; an absolute path. */
  run: string;
  /** Run folder of the repetition. */
  out: string;
  /** Another environment than the run's; null keeps its own. */
  environment: string | null;
  /** Leave the progress of the command out. */
  quiet: boolean;
  signal?: AbortSignal;
}

export interface Replay extends ReplayDifference {
  run: string;
  out: string;
  command: string[];
}

/**
 * Runs the command of a finished run once more, from the folder that it was given in, into another run folder, and compares
 * what came out.
 * @throws UserError RUN_NOT_FOUND, RUN_UNFINISHED, REPLAY_IMPOSSIBLE; ExternalError REPLAY_FAILED, with the command's exit code
 */
export async function replay({ run, out, environment, quiet, signal }: ReplayOptions): Promise<Replay> {
  const manifest = finishedManifest(run);
  const command = replayCommand(manifest.command, out, environment);
  if (command === null) {
    throw new UserError('REPLAY_IMPOSSIBLE', `The command of ${run} names no run folder with --out.`, {
      place: run,
      found: manifest.command.join(' '),
      suggestions: ['Repeat it by hand, and compare with: dopt runs compare'],
    });
  }
  const flags = command.indexOf('--out');
  const started = [...command.slice(1, flags), ...(quiet ? ['--quiet'] : []), ...command.slice(flags)];
  const { execa } = await import('execa');
  const child = await execa(process.execPath, [join(PRODUCT_ROOT, 'bin/run.js'), ...started], {
    cwd: manifest.cwd ?? process.cwd(),
    stdio: ['ignore', 'ignore', 'inherit'],
    reject: false,
    ...(signal ? { cancelSignal: signal, forceKillAfterDelay: 30_000 } : {}),
  });
  const again = readManifest(out);
  if (again?.state !== 'finished') {
    throw new ExternalError('REPLAY_FAILED', 'The command failed when it was repeated.', {
      place: out,
      found: command.join(' '),
      ...(child.exitCode === undefined ? {} : { exitCode: child.exitCode as 5 }),
      suggestions: ['Its message is above. Run it by hand to look closer.'],
    });
  }
  const difference = await differenceOf({ folder: run, manifest }, { folder: out, manifest: again });
  return { run, out, command, ...difference };
}

function finishedManifest(run: string): Manifest {
  const manifest = readManifest(run);
  if (manifest?.state === 'finished') return manifest;
  if (manifest) {
    throw new UserError(
      'RUN_UNFINISHED',
      `The run in ${run} did not finish: there is nothing to compare with.`,
      {
        place: run,
        suggestions: ['Continue it by repeating its command with --resume.'],
      },
    );
  }
  throw new UserError('RUN_NOT_FOUND', `${run} holds no run of dopt.`, {
    place: run,
    suggestions: ['List the runs below this folder with: dopt runs list'],
  });
}

/** A command line with another --out, without --resume, and with another --env where one is given; null without an --out. */
export function replayCommand(
  command: readonly string[],
  out: string,
  environment: string | null,
): string[] | null {
  const end = command.indexOf('--');
  const [flags, rest] = end < 0 ? [command, []] : [command.slice(0, end), command.slice(end)];
  const dropped = new Set(environment === null ? ['--out'] : ['--out', '--env']);
  const kept: string[] = [];
  let found = false;
  for (let i = 0; i < flags.length; i += 1) {
    const [name, value] = flags[i]!.split(/=(.*)/s) as [string, string?];
    if (name === '--out') found = true;
    if (dropped.has(name)) i += value === undefined ? 1 : 0;
    else if (name !== '--resume' && name !== '--json') kept.push(flags[i]!);
  }
  if (!found) return null;
  return [...kept, '--out', out, ...(environment === null ? [] : ['--env', environment]), ...rest];
}

/** The outcome in words. */
export function describeReplay({ equal, files, inputs, versions, stage, out }: Replay): string {
  const brief = (digest: string | null): string => digest?.slice(0, 12) ?? 'none';
  return [
    ...files.map((file) =>
      file.equal
        ? `equal      ${file.name}  ${brief(file.first)}`
        : `DIFFERENT  ${file.name}  ${brief(file.first)} against ${brief(file.second)}`,
    ),
    ...inputs.map(
      ({ name, first, second }) => `input      ${name} is another: ${brief(first)} against ${brief(second)}`,
    ),
    ...versions.map(
      ({ name, first, second }) => `version    ${name} ${first ?? 'none'} against ${second ?? 'none'}`,
    ),
    ...(stage
      ? [
          `The stage ${stage.name} is the first to differ:`,
          ...stage.files.map(({ name, where }) => `  ${name}: ${where}`),
        ]
      : []),
    equal
      ? 'The run repeats: every result has the bytes it had.'
      : `The run does not repeat; it is in ${out}.`,
  ].join('\n');
}
