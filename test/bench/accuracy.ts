/**
 * Accuracy of dopt beside other tools on the test assets: the tables of docs/benchmarks.md.
 *
 *   npm run bench:accuracy -- [--models a,b] [--peers x,y:config|none] [--work DIR]
 *   npm run bench:accuracy -- --ablation        every algorithm of the engine off, one at a time
 *   npm run bench:accuracy -- --decisions       models that are in DIR, on more pictures, without labels
 *   npm run bench:accuracy -- --print           only what is in DIR
 *
 * All tools get the same float.onnx and the same samples, and are scored by the same code on others. What is in DIR is not
 * made again, so a stopped run goes on: remove DIR/MODEL/dopt to measure dopt anew, DIR/MODEL/peers for the peers. Uses
 * the built command (npm run build).
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ensureEnvironment } from '../../src/bridge/environments.js';
import { quantizeFlags } from '../../src/cli/quantize-flags.js';
import type { Effort } from '../../src/quantize/effort.js';
import { ALGORITHMS, type Algorithm, algorithmName, engineFor } from '../../src/quantize/engine.js';
import { decisionsTable, type Judged, ourModel, peerModel } from './decisions.js';
import { type BenchModel, benchModels } from './models.js';
import { PEERS, type Peer, peerEnvironments, type RunSettings } from './peers.js';
import { NOT_MEASURED, ourRow, peerRow, type Row } from './rows.js';
import { ablationTable, modelTable } from './table.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Networks of the ablation: one of each kind. */
const ABLATED = [
  ...['resnet20-cifar10', 'proxyless-w0.25-r112', 'efficientnet-lite0'],
  ...['ultraface-rfb-320', 'yolox-nano', 'cgnet-camvid'],
];

const { values } = parseArgs({
  options: {
    assets: { type: 'string', default: process.env.DOPT_ASSETS ?? join(ROOT, '../shared/assets') },
    work: { type: 'string', default: join(ROOT, 'runs/bench-accuracy') },
    models: { type: 'string' },
    /** Names of peers, or `peer:config`; 'none' for dopt alone. */
    peers: { type: 'string' },
    /** Only the peers: their rows do not change when dopt does. */
    'peers-only': { type: 'boolean', default: false },
    ablation: { type: 'boolean', default: false },
    decisions: { type: 'boolean', default: false },
    print: { type: 'boolean', default: false },
    effort: { type: 'string', default: 'balanced' },
    /** Where the peers' environments are made. */
    environments: { type: 'string', default: peerEnvironments() },
    /** Of one quantization: seconds, and gigabytes of memory that a peer may ask for. */
    timeout: { type: 'string', default: '3600' },
    memory: { type: 'string', default: '12' },
  },
});
const work = resolve(values.work);
const settings: RunSettings | null =
  values.print || values.decisions
    ? null
    : {
        seconds: Number(values.timeout),
        gigabytes: Number(values.memory),
        environments: resolve(values.environments),
      };

const say = (line: string): void => {
  if (settings) process.stderr.write(`${new Date().toLocaleTimeString()} ${line}\n`);
};

/** The networks asked for; an unknown name is an error. */
function chosen<T extends { name: string }>(all: readonly T[], names: string | undefined): readonly T[] {
  if (names === undefined) return all;
  if (names === 'none') return [];
  return names.split(',').map((name) => {
    const found = all.find((one) => one.name === name);
    if (!found) throw new Error(`${name} is none of: ${all.map((one) => one.name).join(', ')}`);
    return found;
  });
}

/** Lays the pictures out once; without the assets there is only the shipped network, which brings its own. */
async function layOut(assets: string): Promise<string> {
  const data = join(work, 'data');
  if (existsSync(data) || !existsSync(assets)) return data;
  const { python } = await ensureEnvironment('onnx');
  const script = join(ROOT, 'test/bench/prepare_assets.py');
  mkdirSync(work, { recursive: true });
  execFileSync(python, [script, assets, `${data}.partial`], { stdio: 'inherit' });
  renameSync(`${data}.partial`, data);
  return data;
}

const folderOf = (model: BenchModel): string => {
  const folder = join(work, model.name);
  mkdirSync(folder, { recursive: true });
  return folder;
};

/** dopt as it comes, and what else the command offers. */
function ours(): { variant: string; flags: string[] }[] {
  const best = quantizeFlags.effort.options?.includes('best');
  return [
    { variant: 'default', flags: [] },
    ...(best ? [{ variant: 'best', flags: ['--effort', 'best'] }] : []),
    { variant: 'generic-npu', flags: ['--target', 'generic-npu'] },
  ];
}

/** All tools on one network, each with the model that it has made. */
async function compare(model: BenchModel): Promise<Judged[]> {
  const folder = folderOf(model);
  const rows: Judged[] = [];
  for (const { variant, flags } of values['peers-only'] ? [] : ours()) {
    say(`${model.name}: dopt ${variant}`);
    const row = await ourRow(model, folder, variant, flags, settings);
    rows.push({ row, model: ourModel(folder, variant) });
  }
  for (const { name, peer, config } of peers) {
    say(`${model.name}: ${name}`);
    const row = await peerRow(model, folder, peer, config, settings);
    rows.push({ row, model: peerModel(folder, `${peer.name}.${config}`) });
  }
  return rows;
}

/** Whole engine, then each algorithm that the effort has left out. */
async function ablation(models: readonly BenchModel[]): Promise<string> {
  const effort = values.effort as Effort;
  const engine = engineFor(effort);
  const algorithms = (Object.keys(ALGORITHMS) as Algorithm[])
    .filter((name) => engine[name])
    .map(algorithmName);
  const variants = ['everything', ...algorithms.map((name) => `without ${name}`)];
  const networks = [];
  for (const model of models) {
    const rows: Row[] = [];
    for (const without of ['', ...algorithms]) {
      say(`${model.name}: without ${without || 'nothing'}`);
      const flags = ['--effort', effort, ...(without ? ['--without', without] : [])];
      const whole = effort === 'balanced' ? 'default' : effort;
      const variant = without ? `${effort}-without-${without}` : whole;
      rows.push(await ourRow(model, folderOf(model), variant, flags, settings, without ? whole : null));
    }
    networks.push({ name: model.name, rows });
  }
  return ablationTable(variants, networks);
}

/** The peers asked for, one entry a configuration. */
function chosenPeers(names: string | undefined): { name: string; peer: Peer; config: string }[] {
  const entries = PEERS.flatMap((peer) =>
    peer.configs.map((config) => ({ name: `${peer.name}:${config}`, peer, config })),
  );
  const whole = PEERS.map(({ name }) => ({
    name,
    entries: entries.filter(({ peer }) => peer.name === name),
  }));
  const single = entries.map((entry) => ({ name: entry.name, entries: [entry] }));
  if (names === undefined) return entries;
  return chosen([...whole, ...single], names).flatMap((choice) => choice.entries);
}

const peers = chosenPeers(values.peers);
const assets = resolve(values.assets);
const all = benchModels({ assets, data: await layOut(assets) });
if (!existsSync(assets)) process.stderr.write(`no test assets at ${assets}: only digits can be measured\n`);
if (values.ablation) {
  console.log(await ablation(chosen(all, values.models ?? ABLATED.join(','))));
} else {
  for (const model of chosen(all, values.models)) {
    const judged = await compare(model);
    const rows = judged.map(({ row }) => row);
    const shown = settings ? rows : rows.filter(({ failure }) => failure !== NOT_MEASURED);
    if (!values.decisions) console.log(`\n${modelTable(model.name, shown)}`);
    else if (model.views) console.log(`\n${await decisionsTable(model, folderOf(model), judged)}`);
  }
}
