import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Graph } from '../../../src/graph/graph.js';
import { CostModel } from '../../../src/target/cost-model.js';
import { loadTarget } from '../../../src/target/target-files.js';
import { NetworkBuilder } from '../../../src/target/zoo/builder.js';
import { markdown, middle, type Places, type Section } from './section.js';

/** A plain network of so many convolutions, the channels of which `seed` varies. */
function network(layers: number, seed = 0): Graph {
  const net = new NetworkBuilder('plain', [1, 3, 128, 128]);
  let x = net.conv(net.input, 32, 3, { stride: 2 });
  for (let layer = 1; layer < layers; layer++) {
    const [channels, turn] = [32 + 16 * ((layer * 7 + seed) % 9), layer % 4];
    if (turn === 0) x = net.depthwise(x, 3, { activation: 'Relu6' });
    else x = net.conv(x, channels, turn === 1 ? 1 : 3, { stride: layer % 25 === 1 ? 2 : 1 });
  }
  return new Graph(net.finish(net.globalAveragePool(x)));
}

/** Milliseconds of processor time that a search spends on one candidate: lowered and predicted, none like one before. */
function searchPath(target: string): number {
  const model = new CostModel(loadTarget(target));
  const candidates = Array.from({ length: 350 }, (_, seed) => network(60, seed));
  const predict = (graph: Graph): void => {
    model.predict(model.lower(graph), { rest: 'int8' });
  };
  // The first ones are compiled while they run.
  for (const graph of candidates.slice(0, 100)) predict(graph);
  const measured = candidates.slice(100);
  const started = process.cpuUsage();
  for (const graph of measured) predict(graph);
  const { user, system } = process.cpuUsage(started);
  return (user + system) / 1000 / measured.length;
}

/** Seconds that Node takes with arguments, the middle of nine. */
function seconds(args: readonly string[]): number {
  const times = Array.from({ length: 9 }, () => {
    const started = performance.now();
    execFileSync(process.execPath, args, { stdio: 'ignore' });
    return (performance.now() - started) / 1000;
  });
  return middle(times);
}

const command = (root: string, args: readonly string[]): number =>
  seconds([join(root, 'bin/run.js'), ...args]);

async function measure({ root, work }: Places): Promise<string> {
  mkdirSync(work, { recursive: true });
  const file = join(work, 'hundred.json');
  writeFileSync(file, JSON.stringify(network(100).file));
  const rows = ['kirin9020', 'kirin9000'].map((target) => [
    `search path, 60 layers, ${target}`,
    `${searchPath(target).toFixed(2)} ms`,
  ]);
  const four = ['cost', file, '--target', 'kirin9020', '--precision', 'fp16,int8,int16,int4'];
  rows.push(
    ...(existsSync(join(root, 'dist/commands'))
      ? [
          ['`dopt cost`, 100 layers, four precisions', `${command(root, four).toFixed(2)} s`],
          ['`dopt --version`', `${command(root, ['--version']).toFixed(2)} s`],
          ['Node alone', `${seconds(['-e', '0']).toFixed(2)} s`],
        ]
      : [['`dopt cost`', 'not built: npm run build']]),
  );
  return markdown(['', 'time'], rows);
}

export const speed: Section = {
  name: 'speed',
  title: 'Speed',
  measure,
};
