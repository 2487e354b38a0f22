import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PYTHON_ROOT } from '../child-environment.js';
import { type ContainerJob, containerArguments } from './command.js';
import type { Engine } from './engine.js';
import { mountsFor } from './mounts.js';

let folder: string;
const at = (...parts: string[]): string => join(folder, ...parts);

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'dopt-mounts-')));
  for (const name of ['run/stages/observe', 'data', 'models', 'elsewhere'])
    mkdirSync(at(name), { recursive: true });
  for (const name of ['models/net.onnx', 'models/net.data', 'elsewhere/samples.npz'])
    writeFileSync(at(name), '');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('mountsFor', () => {
  it('shows inputs read-only, a model with what lies beside it, and outputs writable', () => {
    const params = {
      model: at('models/net.onnx'),
      source: { path: at('elsewhere/samples.npz'), inputs: [{ name: at('data') }] },
      out: at('run/stages/observe'),
      tensors: [at('data')],
      missing: '/no/such/place',
    };
    expect(mountsFor('observe', params)).toEqual([
      { path: at('models'), writable: false },
      { path: at('run/stages/observe'), writable: true },
      { path: at('elsewhere/samples.npz'), writable: false },
    ]);
  });

  it('takes the folder of a file that is still to be written', () => {
    expect(mountsFor('rewrite', { out: at('run/stages/new.onnx') })).toEqual([
      { path: at('run/stages'), writable: true },
    ]);
    expect(mountsFor('llmRanges', { quantized: at('data') })).toEqual([{ path: at('data'), writable: true }]);
    expect(mountsFor('llmEvaluate', { quantized: at('data') })).toEqual([
      { path: at('data'), writable: false },
    ]);
  });

  it('leaves out what an outer mount shows, but not what must be writable inside', () => {
    const params = { a: at('run'), b: at('run/stages'), out: at('run/stages/observe') };
    expect(mountsFor('m', params)).toEqual([
      { path: at('run'), writable: false },
      { path: at('run/stages/observe'), writable: true },
    ]);
  });

  it('follows links, of a path and one level in a folder, and passes broken ones over', () => {
    symlinkSync(at('elsewhere'), at('link'));
    symlinkSync(at('models/net.onnx'), at('data/one.onnx'));
    symlinkSync(at('nowhere'), at('data/broken'));
    expect(mountsFor('m', { a: at('link'), b: at('data') }).map(({ path }) => path)).toEqual([
      at('data'),
      at('link'),
      at('models'),
      at('elsewhere'),
    ]);
  });
});

describe('containerArguments', () => {
  const docker: Engine = { command: 'docker', name: 'docker', version: '28' };
  const job = (engine: Engine, more: Partial<ContainerJob> = {}, gpus: string | null = null): string[] =>
    containerArguments({
      container: { engine, image: 'dopt-onnx:1', gpus },
      name: 'dopt-1',
      method: 'probe',
      params: {},
      file: '/tmp/dopt-job-x/job.json',
      env: { OMP_NUM_THREADS: '2', SECRET_TOKEN: 'x', PATH: '/bin', DOPT_NATIVE_LIB: '/here/libdopt.so' },
      user: { uid: 1000, gid: 100 },
      ...more,
    });
  const text = (args: string[]): string => args.join(' ');

  it('shuts the container off: read-only, no network, no capabilities, the caller as user', () => {
    const line = text(job(docker));
    for (const part of [
      '--rm',
      '--read-only',
      '--network none',
      '--cap-drop ALL',
      '--user 1000:100',
      '--pull never',
    ])
      expect(line).toContain(part);
    expect(line).toContain('--security-opt no-new-privileges');
    expect(line).toContain(`type=bind,source=${PYTHON_ROOT},target=${PYTHON_ROOT},readonly`);
    expect(line).toMatch(
      /dopt-onnx:1 -c exec 3>&1 1>&2 && exec "\$@" sh python -m dopt\.job \/tmp\/dopt-job-x\/job\.json$/,
    );
    expect(line).not.toContain('--gpus');
  });

  it('hands no variable of the machine on but those of Python and dopt', () => {
    const line = text(job(docker));
    expect(line).toContain('--env OMP_NUM_THREADS=2');
    expect(line).not.toMatch(/SECRET_TOKEN|DOPT_NATIVE_LIB|PATH=\/bin/);
  });

  it('asks each engine for GPUs and users in its own words', () => {
    const podman: Engine = { command: 'podman', name: 'podman', version: '4' };
    expect(text(job(docker, {}, 'all'))).toContain('--gpus all');
    expect(text(job(podman, {}, 'device=0,1'))).toContain(
      '--device nvidia.com/gpu=0 --device nvidia.com/gpu=1',
    );
    expect(text(job(podman))).toContain('--userns keep-id');
    expect(text(job(podman, { user: { uid: 0, gid: 0 } }))).toContain('--user 0:0 --cap-add DAC_OVERRIDE');
  });

  it('quotes paths that an engine would take apart', () => {
    mkdirSync(at('a, "b"'));
    const args = job(docker, { params: { out: at('a, "b"') } });
    const quoted = at('a, ""b""');
    expect(args).toContain(`type=bind,"source=${quoted}","target=${quoted}"`);
  });
});
