import { existsSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { EnvironmentKind, TorchProfile } from '../bridge/profiles.js';
import type { NamedShape } from '../cli/parse.js';
import type { Framework } from '../doors/detect.js';
import { EXIT, UserError } from '../errors.js';

export type Layout = 'nchw' | 'nhwc';

/** What the original's command line asks for. Paths are absolute. */
export interface NotrainRequest {
  /** 0: quantization without training. */
  mode: number;
  /** 3: TensorFlow; 5: PyTorch and ONNX. */
  framework: number;
  model: string;
  weight: string | null;
  /** Class or function in the `.py`; null when there is only one. */
  className: string | null;
  /** PyTorch: the packages that run the network; null: those of PyTorch 1.11. */
  profile: TorchProfile | null;
  calConf: string;
  output: string;
  compressConf: string;
  /** null: the framework's own. */
  inputFormat: Layout | null;
  /** In the order of the preprocess blocks. */
  inputShape: NamedShape[];
  /** null: the model's own outputs. */
  outNodes: string[] | null;
  /** null: not given. */
  deviceIdx: number | null;
  /** Replace results that are not ours. */
  overwrite: boolean;
  environment: EnvironmentKind;
  threads: number;
}

const usage = (message: string, suggestions: string[], place?: string): UserError =>
  new UserError('COMPAT_USAGE', message, { exitCode: EXIT.usage, suggestions, ...(place && { place }) });

const ENDINGS: Record<string, Framework> = {
  '.pb': 'tensorflow',
  '.h5': 'tensorflow',
  '.hdf5': 'tensorflow',
  '.py': 'pytorch',
  '.pt': 'pytorch',
  '.onnx': 'onnx',
};
const NAMES: Record<Framework, string> = { tensorflow: 'TensorFlow', pytorch: 'PyTorch', onnx: 'ONNX' };
const NUMBERS: Record<Framework, number> = { tensorflow: 3, pytorch: 5, onnx: 5 };

/**
 * The framework that a request is about, after the original's rules: mode 0; framework 3 with a `.pb`, 5 with a `.py` and
 * `--weight` or with an `.onnx`; files where files are asked for.
 * @throws UserError COMPAT_USAGE (exit 2), COMPAT_FILE
 */
export function checkRequest(request: NotrainRequest): Framework {
  const { mode, model, weight, calConf, output, compressConf, inputShape } = request;
  if (mode !== 0) {
    throw usage(`--mode ${mode} is unknown: dopt_so.py knows mode 0 only, quantization without training.`, [
      'Give -m 0.',
    ]);
  }
  const framework = frameworkOf(request);
  if (extname(model).toLowerCase() === '.py' && weight === null) {
    throw usage(
      '--weight is missing: a .py holds the network without its weights.',
      ['Give the .pth file: --weight net.pth'],
      model,
    );
  }
  if (framework !== 'pytorch' && weight !== null) {
    throw usage(
      `--weight belongs to PyTorch; ${NAMES[framework]} models hold their weights.`,
      ['Leave --weight out, or give the .py of the network after --model.'],
      weight,
    );
  }
  if (inputShape.length === 0) {
    throw usage('--input_shape names no input.', ['Give every input: --input_shape "x:1,3,224,224"']);
  }
  requireFile('--model', model, framework === 'tensorflow' && existsSync(join(model, 'saved_model.pb')));
  if (weight !== null) requireFile('--weight', weight);
  requireFile('--cal_conf', calConf);
  const places = [
    ['--model', model],
    ['--weight', weight],
    ['--cal_conf', calConf],
    ['--output', output],
    ['--compress_conf', compressConf],
  ] as const;
  for (const [index, [flag, path]] of places.entries()) {
    const same = places.slice(0, index).find(([, earlier]) => path !== null && earlier === path);
    if (same) {
      throw usage(`${flag} names the same file as ${same[0]}: ${path}`, ['Give another path.'], path ?? '');
    }
  }
  return framework;
}

function frameworkOf({ framework, model }: NotrainRequest): Framework {
  const ending = extname(model).toLowerCase();
  const folder = existsSync(join(model, 'saved_model.pb'));
  const found = folder ? 'tensorflow' : Object.hasOwn(ENDINGS, ending) ? ENDINGS[ending] : undefined;
  const asked = framework === 3 ? 'a TensorFlow .pb' : 'a PyTorch .py or an .onnx file';
  if (framework !== 3 && framework !== 5) {
    const advice = found
      ? `${model} is ${NAMES[found]}: --framework ${NUMBERS[found]}`
      : 'Give 3 for TensorFlow, 5 for PyTorch and ONNX.';
    const caffe = framework === 0 ? ' (Caffe; support ended with the 2022 tools)' : '';
    throw usage(`--framework ${framework} is not supported${caffe}.`, [advice]);
  }
  if (found && NUMBERS[found] === framework) return found;
  throw new UserError('COMPAT_FILE', `--framework ${framework} takes ${asked}, but --model is ${model}.`, {
    place: model,
    expected: asked,
    found: found ? NAMES[found] : ending || 'a file without an ending',
    suggestions: [
      found ? `Give --framework ${NUMBERS[found]}.` : 'Give the model itself, with its usual ending.',
    ],
  });
}

function requireFile(flag: string, path: string, folderAllowed = false): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isFile() || folderAllowed) return;
  const reason = found?.isDirectory()
    ? 'is a folder, and a file is needed'
    : found
      ? 'is no file'
      : 'does not exist';
  throw new UserError('COMPAT_FILE', `${flag} ${path} ${reason}.`, {
    place: path,
    suggestions: [found ? 'Name the file itself.' : 'Relative paths start at the current folder.'],
  });
}
