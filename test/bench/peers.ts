import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { childEnvironment } from '../../src/bridge/child-environment.js';
import { environmentsFolder } from '../../src/bridge/environments.js';
import { findInterpreter, machinePlaces, tryInterpreter } from '../../src/bridge/interpreters.js';
import { digestOf } from '../../src/run/digest.js';

const HERE = fileURLToPath(new URL('.', import.meta.url));

/** Another tool: peers/MODULE.py runs it with the packages of peers/requirements/MODULE.txt. */
export interface Peer {
  name: string;
  module: string;
  /** Configurations, by the names that the module knows them under. */
  configs: readonly string[];
  /** Of them, those that keep the activations of all samples in memory. */
  histograms?: readonly string[];
}

export const PEERS: readonly Peer[] = [
  {
    name: 'onnxruntime',
    module: 'onnxruntime_static',
    configs: ['defaults', 'minmax', 'entropy', 'percentile'],
    histograms: ['entropy', 'percentile'],
  },
  {
    name: 'nncf',
    module: 'nncf_ptq',
    configs: ['defaults', 'fast', 'accurate', 'fast-performance', 'accurate-performance'],
  },
  { name: 'aimet', module: 'aimet', configs: ['defaults', 'tf-enhanced', 'adaround'] },
  {
    name: 'quark',
    module: 'quark',
    configs: ['percentile', 'equalize-bias', 'adaround'],
    histograms: ['percentile', 'equalize-bias', 'adaround'],
  },
  { name: 'neural-compressor', module: 'neural_compressor', configs: ['static', 'smooth-quant'] },
];

/** What one quantization by a peer took. */
export interface PeerRun {
  seconds: number;
  peakBytes: number;
  version: string;
}

/** How quantizations are run. */
export interface RunSettings {
  /** After so many seconds one is given up. */
  seconds: number;
  /** Of memory that a peer may ask for. */
  gigabytes: number;
  /** Where the environments of peers are made. */
  environments: string;
}

/**
 * The interpreter of a peer's own environment, made on first need from its pinned requirements: Python 3.11. A
 * killed build leaves nothing that could be taken for an environment.
 */
export async function peerPython(
  { name, module }: Pick<Peer, 'name' | 'module'>,
  folder: string,
): Promise<string> {
  const requirements = join(HERE, 'peers/requirements', `${module}.txt`);
  const { found, tried } = await findInterpreter(['3.11'], machinePlaces(), tryInterpreter);
  if (!found) throw new Error(`no Python 3.11; tried ${tried.map(({ path }) => path).join(', ')}`);
  const digest = digestOf({ python: found.version, requirements: readFileSync(requirements, 'utf8') });
  const root = join(folder, `${name}-${digest.slice(0, 12)}`);
  const python = join(root, 'bin/python');
  if (existsSync(python)) return python;
  const building = `${root}.tmp-${process.pid}`;
  mkdirSync(folder, { recursive: true });
  process.stderr.write(`making the environment of ${name}: ${root}\n`);
  try {
    const quiet = { stdin: 'ignore' } as const;
    await execa(found.path, ['-m', 'venv', building], quiet);
    const pip = ['-m', 'pip', 'install', '--quiet', '--no-input', '--only-binary', ':all:'];
    await execa(join(building, 'bin/python'), [...pip, '--requirement', requirements], quiet);
    await rename(building, root);
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
  return python;
}

/** Beside dopt's own environments. */
export const peerEnvironments = (): string => join(dirname(environmentsFolder()), 'bench');

/** Quantizes in a child process. Rejects with what the tool failed with; its output is in `log`. */
export async function runPeer(
  python: string,
  { module }: Peer,
  config: string,
  files: { model: string; samples: string; out: string; log: string },
  { seconds, gigabytes }: RunSettings,
): Promise<PeerRun> {
  const args = [module, config, files.model, files.samples, files.out, String(gigabytes)];
  const child = await execa(python, ['-m', 'peers.run', ...args], {
    cwd: HERE,
    env: childEnvironment({
      threads: availableParallelism(),
      extra: { PYTHONPATH: HERE, PYTHONDONTWRITEBYTECODE: '1' },
    }),
    extendEnv: false,
    stdin: 'ignore',
    timeout: seconds * 1000,
    reject: false,
    all: true,
  });
  writeFileSync(files.log, child.all ?? '');
  if (child.timedOut) throw new Error(`not done after ${seconds} s`);
  if (child.failed) throw new Error(failureOf(child.stderr ?? '', child.shortMessage ?? ''));
  const text = child.stdout ?? '';
  return JSON.parse(text.slice(text.lastIndexOf('\n{') + 1)) as PeerRun;
}

/** The exception that a Python program ended with. */
function failureOf(stderr: string, otherwise: string): string {
  const lines = stderr.trim().split('\n');
  const error = lines.findLast((line) => /^[\w.]*(Error|Exception|Fail\w*|Exit)\b/.test(line));
  return (error ?? otherwise.split('\n')[0]!).slice(0, 200);
}
