/**
 * Every TensorFlow and PyTorch model of the test assets through its own door: the second table of docs/benchmarks.md.
 *
 *   python test/bench/prepare_assets.py ASSETS DATA        (needs numpy and pillow)
 *   tsx test/bench/doors.ts ASSETS DATA WORK [MODEL …]
 *
 * Uses the built command (npm run build). What is in WORK is not made again, and what was interrupted goes on. A model that
 * fails leaves a row that says so, and the exit code 1 at the end.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toNumber } from '../../src/config/common.js';
import { type RunResult, resultSchema } from '../../src/config/result.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const NETWORKS = join(ROOT, 'test/bench/networks');
const [assets, data, work, ...wanted] = process.argv.slice(2) as [string, string, string, ...string[]];

interface DoorModel {
  name: string;
  /** Arguments of dopt quantize before --out. */
  args: string[];
}

const tensorflow = (file: string): string => join(assets, 'models/tensorflow', file);
const torch = (py: string, weights: string, shape: string): string[] => [
  join(NETWORKS, py),
  ...['--weights', join(assets, weights), '--input-shape', shape],
];
const samples = (folder: string): string[] => [
  ...['--data', join(data, folder, 'calibration'), '--verify-data', join(data, folder, 'test')],
];
const labels = (folder: string): string[] => ['--labels', join(data, folder, 'labels.txt')];

const speech = [...samples('speech'), ...labels('speech')];
const cifar = [...samples('cifar10'), ...labels('cifar10')];
const imagenet = [...samples('imagenet'), ...labels('imagenet')];
const normal = ['--mean', '123.675,116.28,103.53', '--std', '58.395,57.12,57.375'];

const MODELS: readonly DoorModel[] = [
  ...['ds-cnn-s', 'cnn-s', 'dnn-s'].map((name) => ({ name, args: [tensorflow(`${name}.pb`), ...speech] })),
  ...['pb', 'h5'].map((ending) => ({
    name: `resnet8-cifar10.${ending}`,
    args: [tensorflow(`resnet8-cifar10.${ending}`), ...cifar],
  })),
  ...[20, 56].map((depth) => ({
    name: `resnet${depth}-cifar10`,
    args: [
      ...torch('resnet_cifar.py', `models/torch/resnet${depth}-cifar10.th`, 'x:1,3,32,32'),
      ...['--class', `resnet${depth}`, ...cifar, ...normal],
    ],
  })),
  {
    name: 'proxyless-w0.25-r112',
    args: [
      ...torch('proxyless.py', 'models/torch/proxyless-w0.25-r112_imagenet.pth', 'x:1,3,112,112'),
      ...[...imagenet, '--resize', '128', '--crop', '112', '--mean', '127.5', '--std', '127.5'],
    ],
  },
  {
    name: 'efficientnet-lite0',
    args: [
      ...torch('efficientnet_lite.py', 'efficientnet-lite0/efficientnet-lite0.pth', 'x:1,3,224,224'),
      ...[...imagenet, '--resize', '256', '--interpolation', 'bicubic', '--crop', '224'],
      ...['--mean', '127', '--std', '128'],
    ],
  },
  {
    name: 'cgnet-camvid',
    args: [
      ...torch('cgnet.py', 'models/torch/cgnet-camvid.pth', 'x:1,3,360,480'),
      ...[...samples('camvid'), '--labels', join(data, 'camvid/labels'), '--recipe', 'cgnet'],
    ],
  },
  {
    name: 'char-gpt-shakespeare',
    args: [
      ...torch('char_gpt.py', 'models/torch/char-gpt-shakespeare.pth', 'ids:1,48'),
      ...['--class', 'NextCharacter', '--data', join(data, 'text/calibration.npy')],
      ...['--verify-data', join(data, 'text/test.npy'), '--labels', join(data, 'text/labels.npy')],
    ],
  },
];

function run({ name, args }: DoorModel): RunResult {
  const out = join(work, name);
  const file = join(out, 'result.json');
  if (!existsSync(file)) {
    mkdirSync(work, { recursive: true });
    const resume = existsSync(out) ? ['--resume'] : [];
    execFileSync(process.execPath, [join(ROOT, 'bin/run.js'), 'quantize', ...args, '--out', out, ...resume], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }
  return resultSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
}

const percent = (value: number | null | undefined): string => (value == null ? '–' : value.toFixed(1));

function row(name: string, { door, verification }: RunResult): string {
  const { check, parity, conversion } = door!;
  const score = verification!.task?.scores[0];
  const inFramework = check?.task?.scores[0];
  const [against] = check!.againstOnnx;
  const cells = [
    name,
    `${conversion.seconds.toFixed(1)} + ${conversion.importSeconds.toFixed(1)} s, ${(conversion.peakBytes / 1e6).toFixed(0)} MB`,
    parity.random.maxAbsoluteDifference.toExponential(1),
    parity.samples ? parity.samples.maxAbsoluteDifference.toExponential(1) : '–',
    percent(inFramework?.float),
    percent(score?.quantized),
    percent(inFramework?.quantized),
    `${toNumber(verification!.outputs[0]!.similarity.sqnr).toFixed(1)} dB`,
    against!.agreement ? `${(100 * against!.agreement.share).toFixed(2)} %` : '–',
  ];
  return `| ${cells.join(' | ')} |`;
}

const head = [
  'model',
  'conversion + import',
  'parity, random',
  'parity, real',
  'float in framework',
  'INT8 in onnxruntime',
  'INT8 in framework',
  'SQNR',
  'same decision',
];
console.log(`| ${head.join(' | ')} |\n|${' --- |'.repeat(head.length)}`);
for (const model of MODELS) {
  if (wanted.length > 0 && !wanted.includes(model.name)) continue;
  try {
    console.log(row(model.name, run(model)));
  } catch (error) {
    process.exitCode = 1;
    // What dopt itself said went to standard error.
    const { status, message } = error as Error & { status?: number };
    console.log(
      `| ${model.name} | failed: ${status ? `exit code ${status} of dopt` : message.split('\n')[0]} |`,
    );
  }
}
