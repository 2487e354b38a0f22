/**
 * What the solver of language models is worth: the tables of docs/benchmarks.md.
 *
 *   npm run bench:llm                           each step added to the one before, on stories260K of the assets
 *   npm run bench:llm -- --peers                the efforts beside GPTQModel, llm-compressor and AutoRound, on the same tokens
 *     [--model DIR --calibration TEXT --test TEXT] [--group N] [--samples N] [--length N] [--windows N] [--batch N]
 *     steps: [--steps 1,4,8] [--float-ends]      peers: [--tools dopt,gptqmodel] [--efforts balanced] [--iterations N] [--minutes N]
 *
 * Tools run in environments of their own, made on first need; all are judged by the same code (python/bench/llm_common.py).
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { childEnvironment } from '../../src/bridge/child-environment.js';
import { ensureEnvironment } from '../../src/bridge/environments.js';
import { solverFor } from '../../src/llm/efforts.js';
import { LLM_EFFORTS, type LlmEffort } from '../../src/llm/options.js';
import { type Peer, peerEnvironments, peerPython } from './peers.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const TOOLS: Record<string, Pick<Peer, 'name' | 'module'> | null> = {
  dopt: null,
  'llm-compressor': { name: 'llm-compressor', module: 'llm_compressor' },
  gptqmodel: { name: 'gptqmodel', module: 'gptqmodel' },
  'auto-round': { name: 'auto-round', module: 'auto_round' },
};

const string = { type: 'string' } as const;
const shared = { model: string, calibration: string, test: string, group: string, samples: string };
const { values } = parseArgs({
  options: {
    ...shared,
    ...{ length: string, windows: string, batch: string, steps: string, iterations: string },
    'float-ends': { type: 'boolean', default: false },
    peers: { type: 'boolean', default: false },
    tools: { type: 'string', default: Object.keys(TOOLS).join(',') },
    efforts: { type: 'string', default: 'fast,balanced' },
    /** Where the tools' environments are made, and where what they print goes. */
    environments: { type: 'string', default: peerEnvironments() },
    /** After so many a tool is given up. */
    minutes: { type: 'string', default: '10' },
    work: { type: 'string', default: join(ROOT, 'runs/bench-llm') },
  },
});
const work = resolve(values.work);

/** The flags given, of those that a program of python/bench knows. */
function flags(...own: ('steps' | 'float-ends' | 'iterations')[]): string[] {
  const known = [
    'model',
    'calibration',
    'test',
    'group',
    'samples',
    'length',
    'windows',
    'batch',
    ...own,
  ] as const;
  return known.flatMap((name) => {
    const value = values[name];
    if (value === undefined || value === false) return [];
    return value === true ? [`--${name}`] : [`--${name}`, value];
  });
}

/** Runs a program of python/bench; what it says beside its table goes to a file. */
async function measure(python: string, name: string, script: string, args: string[]): Promise<void> {
  mkdirSync(work, { recursive: true });
  const child = execa(python, [join(ROOT, 'python/bench', script), ...args], {
    env: childEnvironment({ threads: 1, extra: { PYTHONDONTWRITEBYTECODE: '1' } }),
    extendEnv: false,
    stdin: 'ignore',
    timeout: values.peers ? Number(values.minutes) * 60_000 : 0,
    reject: false,
    all: true,
  });
  const { all, stdout, failed, timedOut, shortMessage } = await child;
  writeFileSync(join(work, `${name}.log`), all ?? '');
  const rows = stdout.split('\n').filter((line) => script === 'llm_steps.py' || line.includes('(float '));
  const reason = timedOut ? `not done after ${values.minutes} minutes` : shortMessage?.split('\n')[0];
  if (rows.length > 0) console.log(rows.join('\n'));
  if (failed) console.log(`${name}: ${reason}; see ${work}/${name}.log`);
}

const { python: own } = await ensureEnvironment('current');
if (!values.peers) await measure(own, 'steps', 'llm_steps.py', flags('steps', 'float-ends'));
else {
  for (const tool of values.tools.split(',')) {
    const peer = TOOLS[tool];
    if (peer === undefined) throw new Error(`${tool} is none of: ${Object.keys(TOOLS).join(', ')}`);
    if (peer) {
      try {
        const python = await peerPython(peer, resolve(values.environments));
        await measure(python, tool, 'llm_peer.py', [tool, ...flags('iterations')]);
      } catch (error) {
        const { stderr, message } = error as { stderr?: string; message: string };
        console.log(`${tool}: no environment: ${(stderr || message).trim().split('\n').at(-1)}`);
      }
      continue;
    }
    for (const effort of values.efforts.split(',') as LlmEffort[]) {
      if (!LLM_EFFORTS.includes(effort)) throw new Error(`${effort} is none of: ${LLM_EFFORTS.join(', ')}`);
      const solver = JSON.stringify(solverFor(effort, 'auto'));
      const named = ['--name', `dopt ${effort}`, '--solver', solver];
      await measure(own, `dopt-${effort}`, 'llm_peer.py', [tool, ...named, ...flags()]);
    }
  }
}
