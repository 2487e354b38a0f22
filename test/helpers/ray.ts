import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../bridge-fake.js';
import { ROOT } from './cli.js';
import { pythonOf } from './frameworks.js';

/** Where `npm test` puts Ray: beside the environments, which stay as the product made them. */
const PACKAGES = join(ROOT, '.dopt/test-ray-packages');
export const hasRay = existsSync(join(PACKAGES, 'ray'));

/** A Ray cluster of this machine with room for two workers, in PyTorch's environment. */
export interface RayCluster {
  address: string;
  /** What makes dopt use the same Python. */
  env: Record<string, string>;
  stop: () => Promise<void>;
}

export async function startRay(): Promise<RayCluster> {
  const env = { PYTHONPATH: PACKAGES, DOPT_PYTHON: await pythonOf('torch') };
  const folder = mkdtempSync(join(tmpdir(), 'ray-'));
  const address = `127.0.0.1:${await freePort()}`;
  const args = [
    ...['-m', 'ray.scripts.scripts', 'start', '--head', '--block', `--port=${address.split(':')[1]}`],
    ...['--node-ip-address=127.0.0.1', '--num-cpus=2', '--object-store-memory=100000000'],
    ...['--include-dashboard=false', '--disable-usage-stats', `--temp-dir=${folder}`],
  ];
  const child = spawn(env.DOPT_PYTHON, args, {
    env: { ...process.env, ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      said += chunk;
    });
  const ended = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await ended;
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // All of its processes have ended.
    }
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await until(() => said.includes('Ray runtime started') || undefined, 'the cluster', 180_000);
  } catch (error) {
    await stop();
    throw new Error(`${error}\n${said}`);
  }
  return { address, env, stop };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
