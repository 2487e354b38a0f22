import { execFile } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Snippet } from '../../scripts/reference/snippets.js';
import type { Profile } from '../../src/bridge/profiles.js';
import { ROOT } from './cli.js';
import { pythonOf } from './frameworks.js';
import { writeTextModel } from './language-model.js';

const FIXTURES = join(ROOT, 'test/fixtures');

/** A user's folder, in what looks like a clone, with `dopt` on a PATH of its own. */
export interface UserFolder {
  folder: string;
  /** What lies in it before anything was run. */
  names: string[];
}

/** What the commands of a page leave and other pages begin with, and the commands that make it. */
const MADE: readonly { names: string[]; by: RegExp }[] = [
  { names: ['net.recipe.yaml'], by: /\binit net\.onnx(?!.* --out)/ },
  { names: ['runs/net'], by: /--out runs\/net$/m },
  { names: ['runs/qwen'], by: /--out runs\/qwen$/m },
  { names: ['log_search', 'results', 'pareto.json'], by: /\bsearch -c scen\.yaml$/m },
];

/** The files of a user as the documentation names them, and those that its pages show, in `folder`. */
export async function writeUserFolder(folder: string, shown: readonly Snippet[]): Promise<UserFolder> {
  cpSync(join(FIXTURES, 'user'), folder, { recursive: true });
  cpSync(join(FIXTURES, 'search'), folder, { recursive: true });
  writeTextModel(join(folder, 'models/qwen'));
  for (const { file, text } of shown) writeFileSync(join(folder, file!), `${text}\n`);
  const script = join(FIXTURES, 'user/files.py');
  const write = async (profile: 'onnx' | 'tensorflow' | 'torch'): Promise<void> => {
    await promisify(execFile)(await pythonOf(profile), ['-B', script, folder, profile]);
  };
  await Promise.all([write('onnx').then(() => write('torch')), write('tensorflow')]);
  const names = readdirSync(folder);
  likeAClone(folder);
  return { folder, names };
}

/** A copy for commands that read `text`, with those results of other pages that it does not make itself. */
export function copyUserFolder({ folder, names }: UserFolder, to: string, text: string): void {
  const made = MADE.filter(({ by }) => !by.test(text)).flatMap((one) => one.names);
  for (const name of [...names, ...made.filter((one) => existsSync(join(folder, one)))]) {
    mkdirSync(dirname(join(to, name)), { recursive: true });
    cpSync(join(folder, name), join(to, name), { recursive: true });
  }
  likeAClone(to);
}

/** Links to what a clone holds where nothing of the user's has the name, and a command `dopt`. */
function likeAClone(folder: string): void {
  for (const name of readdirSync(ROOT)) {
    if (name !== 'runs' && !existsSync(join(folder, name))) symlinkSync(join(ROOT, name), join(folder, name));
  }
  mkdirSync(join(folder, 'path'));
  writeFileSync(join(folder, 'path/dopt'), `#!/bin/sh\nexec node '${join(ROOT, 'bin/run.js')}' "$@"\n`);
  chmodSync(join(folder, 'path/dopt'), 0o755);
}

/** Runs a snippet as it stands; rejects with what it printed. */
export async function runSnippet(folder: string, snippet: Snippet): Promise<void> {
  const [command, args] = await program(folder, snippet);
  const env = {
    ...process.env,
    PATH: `${join(folder, 'path')}:${process.env.PATH}`,
    ...(snippet.python && { PYTHONPATH: join(ROOT, 'python') }),
  };
  // Where a page writes into a home, it is this folder.
  if (snippet.text.includes('~/')) {
    Object.assign(env, { HOME: folder });
    mkdirSync(join(folder, '.config/fish/completions'), { recursive: true });
  }
  const run = promisify(execFile)(command, args, { cwd: folder, env, maxBuffer: 2 ** 26 });
  run.child.stdin?.end();
  await run.catch(({ message, stdout, stderr }: Error & { stdout: string; stderr: string }) => {
    throw new Error(`${snippet.page}:${snippet.line}\n${message}\n${stdout}\n${stderr}`);
  });
}

async function program(folder: string, { python, text }: Snippet): Promise<[string, string[]]> {
  if (!python) return ['bash', ['--norc', '-euo', 'pipefail', '-c', text]];
  const given = readFileSync(join(folder, `given_${python.join('_')}.py`), 'utf8');
  const file = join(folder, 'snippet.py');
  writeFileSync(file, `${given}\n${text}\n`);
  return [await pythonOf(python[0] as Profile), ['-B', file]];
}
