import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { quantParamsSchema } from '../src/config/quant-params.js';
import { dopt, ROOT } from './helpers/cli.js';
import { type Command, command, config, copyPictures, digest } from './helpers/compat.js';
import { pythonOf, writeModels } from './helpers/frameworks.js';

/** Prints the scores that the written model gives for zeros, after loading it as its users do. */
const LOAD = {
  tensorflow: `
import sys, numpy, tensorflow.compat.v1 as tf
graph = tf.GraphDef.FromString(open(sys.argv[1], "rb").read())
with tf.Graph().as_default(), tf.Session() as session:
    tf.import_graph_def(graph, name="")
    print(session.run("scores:0", {"x:0": numpy.zeros((1, 16, 16, 3), "float32")}).shape)
`,
  torch: `
import os, sys, torch
sys.path.insert(0, sys.argv[2])
import net
network = net.Net()
network.load_state_dict(torch.load(sys.argv[1]), strict=True)
print(tuple(network.eval()(torch.zeros(1, 3, 16, 16)).shape))
`,
};

/** The sample command lines of the original's pages: every flag that its tables name for the framework. */
const SAMPLES = {
  tensorflow: {
    script: 'dopt_tf_py3',
    flags: {
      '--framework': '3',
      '--model': 'net.pb',
      '--input_format': 'NHWC',
      '--input_shape': 'x:1,16,16,3',
      '--out_nodes': 'scores',
    },
    output: 'net_quant.pb',
  },
  torch: {
    script: 'dopt_pytorch_py3',
    flags: { '--framework': '5', '--model': 'net.py', '--weight': 'net.pth', '--input_shape': 'x:1,3,16,16' },
    output: 'net_quant.pt',
  },
} as const;

describe.each(['tensorflow', 'torch'] as const)('the sample of the original for %s', (profile) => {
  const { script, flags, output } = SAMPLES[profile];
  let work: string;
  let calConf: string;
  let reference: Command;
  const sample = (folder: string): Command => {
    const target = join(work, folder);
    mkdirSync(target);
    const own = Object.entries(flags).map(([flag, value]) => [
      flag,
      /^net\./.test(value) ? join(work, value) : value,
    ]);
    const made = command(target, calConf, {
      ...Object.fromEntries(own),
      '--device_idx': '0',
      '--output': join(target, output),
    });
    return { ...made, output: join(target, output) };
  };

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'dopt-compat-'));
    await writeModels(profile, work);
    calConf = config(work, 'image.prototxt', { PICTURES: copyPictures(work) });
    reference = sample('command');
    const { code, out, err } = await dopt(['compat', 'notrain', ...reference.flags]);
    expect(code, err).toBe(0);
    expect(out).toContain('The model was quantized successfully.');
  });
  afterAll(() => rmSync(work, { recursive: true, force: true }));

  it('writes a model that the framework loads, and the open parameter file', async () => {
    const python = await pythonOf(profile);
    const shown = execFileSync(python, ['-c', LOAD[profile], reference.output, work], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    expect(shown.trim()).toBe('(1, 10)');
    const { tensors } = quantParamsSchema.parse(JSON.parse(readFileSync(reference.parameters, 'utf8')));
    expect(tensors.filter(({ kind }) => kind === 'weight').length).toBeGreaterThanOrEqual(3);
  });

  it(`gives the same bytes through ${script}/dopt_so.py`, () => {
    const own = sample('script');
    const so = join(ROOT, 'compat', script, 'dopt_so.py');
    const ended = spawnSync('python3', [so, ...own.flags], { encoding: 'utf8' });
    expect(ended.status, ended.stderr).toBe(0);
    expect(ended.stdout).toContain('The model was quantized successfully.');
    expect(digest(own)).toEqual(digest(reference));
  });
});
