import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { ensureEnvironment } from '../../../src/bridge/environments.js';
import { EnvironmentError } from '../../../src/errors.js';
import { readMeasurements } from '../../../src/target/calibrate/measurements.js';
import { CostModel } from '../../../src/target/cost-model.js';
import { loadTarget } from '../../../src/target/target-files.js';
import { zooGraph } from '../../../src/target/zoo/find.js';
import { peerPython } from '../peers.js';
import { judge, markdown, milliseconds, type Places, type Section, Skipped, signed } from './section.js';

/** Networks that TensorFlow Lite has every operator of in INT8. */
const NETWORKS = [
  ...['mobilenet-v1', 'mobilenet-v2', 'mobilenet-v3-large', 'resnet18', 'resnet50'],
  ...['squeezenet', 'inception-v3', 'vdsr'],
];

/** Profiles with what Vela calls the same. */
const DEVICES = [
  {
    target: 'ethos-u55-128',
    system: 'Ethos_U55_High_End_Embedded',
    memory: 'Shared_Sram',
  },
  {
    target: 'ethos-u65-256',
    system: 'Ethos_U65_High_End',
    memory: 'Dedicated_Sram',
  },
];

/** Networks of the zoo as INT8 TensorFlow Lite files, written once; their folder. */
async function tfliteFiles(work: string): Promise<string> {
  const [graphs, models] = [join(work, 'graphs'), join(work, 'tflite')];
  mkdirSync(graphs, { recursive: true });
  for (const name of NETWORKS)
    writeFileSync(join(graphs, `${name}.json`), JSON.stringify(zooGraph(`zoo:${name}`).file));
  const { python } = await ensureEnvironment('tensorflow');
  const script = fileURLToPath(new URL('tflite_models.py', import.meta.url));
  await execa(python, [script, graphs, models], { env: { TF_CPP_MIN_LOG_LEVEL: '2' }, stdin: 'ignore' });
  return models;
}

/** What Vela estimates for each network on a device, seconds by name. */
async function estimates(
  python: string,
  models: string,
  out: string,
  { target, system, memory }: (typeof DEVICES)[number],
): Promise<Map<string, number>> {
  rmSync(out, { recursive: true, force: true });
  const seconds = new Map<string, number>();
  for (const name of NETWORKS) {
    const device = ['--accelerator-config', target, '--system-config', system, '--memory-mode', memory];
    const file = join(models, `${name}.tflite`);
    await execa(python, ['-m', 'ethosu.vela', file, ...device, '--output-dir', out], { stdin: 'ignore' });
    const summary = readdirSync(out).find((file) => file.startsWith(`${name}_summary`));
    for (const row of await readMeasurements(join(out, summary!), null)) seconds.set(name, row.seconds);
  }
  return seconds;
}

async function measure({ work, environments }: Places): Promise<string> {
  const { python, models } = await prepared(work, environments);
  const tables: string[] = [];
  for (const device of DEVICES) {
    const out = join(work, device.target);
    const theirs = await estimates(python, models, out, device);
    const model = new CostModel(loadTarget(device.target));
    const ours = NETWORKS.map(
      (name) => model.predict(model.lower(zooGraph(`zoo:${name}`)), { rest: 'int8' }).seconds,
    );
    const measured = NETWORKS.map((name) => theirs.get(name)!);
    const rows = NETWORKS.map((name, index) => [
      name,
      milliseconds(measured[index]!),
      milliseconds(ours[index]!),
      signed(ours[index]! / measured[index]! - 1),
    ]);
    const [mape, rank] = judge(ours, measured);
    tables.push(
      markdown([`${device.target}, INT8, ms`, 'Vela', 'dopt', 'error'], rows),
      '',
      `Mean error ${mape}, rank correlation ${rank}.`,
      '',
    );
  }
  return tables.join('\n').trimEnd();
}

async function prepared(work: string, environments: string): Promise<{ python: string; models: string }> {
  try {
    const python = await peerPython({ name: 'vela', module: 'vela' }, environments);
    return { python, models: await tfliteFiles(work) };
  } catch (error) {
    // Without Python 3.11, a package index, or TensorFlow there is nothing to compare with.
    const missing = error instanceof EnvironmentError || /Python 3\.11|pip|venv/.test(String(error));
    if (!missing) throw error;
    throw new Skipped(`no environment for Vela: ${(error as Error).message.split('\n')[0]}`);
  }
}

export const vela: Section = {
  name: 'vela',
  title: "Ethos-U55 and Ethos-U65: the public compiler's own estimate",
  measure,
};
