import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import * as Flags from '@oclif/core/flags';
import { ENVIRONMENT_KINDS, TORCH_PROFILES, type TorchProfile } from '../bridge/profiles.js';
import { type Preprocess, preprocessSchema } from '../config/data.js';
import { FRAMEWORKS, type Framework } from '../doors/detect.js';
import { EXIT, UserError } from '../errors.js';
import { DEFAULT_TARGET, isTargetFile } from '../target/names.js';
import { parseInputShapes, parseList, parseNumbers, parseSize } from './parse.js';

/** How pictures become tensors. */
export const pictureFlags = {
  color: Flags.string({
    options: ['rgb', 'bgr', 'gray'],
    description: 'channel order the model takes',
    helpGroup: 'PICTURES',
  }),
  resize: Flags.string({ description: 'shorter side to N, or exactly HxW', helpGroup: 'PICTURES' }),
  letterbox: Flags.string({ description: 'fit into N or HxW and pad with 114', helpGroup: 'PICTURES' }),
  crop: Flags.string({ description: 'centre crop to N or HxW', helpGroup: 'PICTURES' }),
  interpolation: Flags.string({
    options: ['nearest', 'bilinear', 'bicubic'],
    description: 'how to resize',
    helpGroup: 'PICTURES',
  }),
  mean: Flags.string({
    description: 'subtracted from 0..255 values: one number or one a channel',
    helpGroup: 'PICTURES',
  }),
  std: Flags.string({
    description: 'divides after the mean: one number or one a channel',
    helpGroup: 'PICTURES',
  }),
  layout: Flags.string({
    options: ['nchw', 'nhwc'],
    description: 'order of the dimensions',
    helpGroup: 'PICTURES',
  }),
};

/** What the preprocessing flags say; those that were not given fall back to `base` (a recipe), then to the defaults. */
export function preprocessFrom(
  flags: { [K in keyof typeof pictureFlags]?: string | undefined },
  base: Partial<Preprocess> = {},
): Preprocess {
  const letterbox = parseSize('--letterbox', flags.letterbox);
  const given = {
    color: flags.color,
    resize: parseSize('--resize', flags.resize),
    letterbox: letterbox === undefined ? undefined : { ...base.letterbox, size: letterbox },
    crop: parseSize('--crop', flags.crop),
    interpolation: flags.interpolation,
    mean: parseNumbers('--mean', flags.mean),
    std: parseNumbers('--std', flags.std),
    layout: flags.layout,
  };
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return preprocessSchema.parse({ ...base, ...set });
}

/** How accuracy is scored. */
export const metricFlag = Flags.string({
  description:
    'what to score by: top1, mIoU, PSNR, perplexity, …, a score of the recipe (AP50), or a Python file with ' +
    'evaluate(outputs, labels)',
  helpGroup: 'DATA',
});

/** What a model needs beside its file. */
export const modelFlags = {
  framework: Flags.string({
    options: ['auto', ...FRAMEWORKS],
    default: 'auto',
    description: 'what the model is of, when its file does not say',
    helpGroup: 'MODEL',
  }),
  weights: Flags.string({ description: 'PyTorch: .pth, .pt or .th with the weights', helpGroup: 'MODEL' }),
  class: Flags.string({
    description: 'PyTorch: class or function in the .py that makes the network',
    helpGroup: 'MODEL',
  }),
  profile: Flags.string({
    options: [...TORCH_PROFILES],
    description: 'PyTorch: packages that run the network; torch: 1.11 (default), current: 2.13',
    helpGroup: 'MODEL',
  }),
  'input-shape': Flags.string({
    description: 'fixed input shapes, "x:1,3,224,224"',
    helpGroup: 'MODEL',
  }),
  outputs: Flags.string({
    multiple: true,
    description: 'cut the model at these tensors',
    helpGroup: 'MODEL',
  }),
  'trust-model-code': Flags.boolean({
    default: false,
    description: 'Keras .h5: execute the Python code of its Lambda layers',
    helpGroup: 'MODEL',
  }),
};

/** A device; the path of a profile becomes absolute, so that a run can be resumed from elsewhere. */
export const targetFlag = Flags.custom<string>({
  default: DEFAULT_TARGET,
  parse: async (text) => (isTargetFile(text) ? resolve(text) : text),
});

/** The model and what its flags say, with absolute paths. */
export function modelFrom(
  model: string,
  flags: {
    framework: string;
    weights?: string | undefined;
    class?: string | undefined;
    profile?: string | undefined;
    'input-shape'?: string | undefined;
    outputs?: string[] | undefined;
    'trust-model-code'?: boolean | undefined;
  },
) {
  const outputs = parseList(flags.outputs);
  return {
    model: resolve(model),
    framework: flags.framework as Framework | 'auto',
    weights: flags.weights === undefined ? null : resolve(flags.weights),
    className: flags.class ?? null,
    profile: (flags.profile as TorchProfile | undefined) ?? null,
    inputShapes: parseInputShapes(flags['input-shape']),
    outputs: outputs.length > 0 ? outputs : null,
    trustCode: flags['trust-model-code'] ?? false,
  };
}

/** Order of the dimensions that pictures take when nothing else is said: TensorFlow puts channels last. */
export const layoutOf = (model: string): Preprocess['layout'] =>
  /\.(pb|h5|hdf5)$/i.test(model) || existsSync(join(model, 'saved_model.pb')) ? 'nhwc' : 'nchw';

/** What commands that run Python share. */
export const runtimeFlags = {
  env: Flags.string({
    options: [...ENVIRONMENT_KINDS],
    default: 'venv',
    env: 'DOPT_ENV',
    description:
      'Python: an environment of ours, the same in a container, or the interpreter of DOPT_PYTHON / python3 as it is',
    helpGroup: 'RUN',
  }),
  threads: Flags.integer({ min: 1, description: 'processor threads (default: all)', helpGroup: 'RUN' }),
};

/** What computes. */
export const deviceFlags = {
  device: Flags.string({
    options: ['cpu', 'cuda'],
    default: 'cpu',
    description: 'what computes: the processor, or an NVIDIA GPU (dopt env doctor says which can be used)',
    helpGroup: 'RUN',
  }),
  'device-index': Flags.custom<number[]>({
    parse: async (text) => parseIndices(text),
    description: 'which GPU (default: 0), or several: 0,1',
    helpGroup: 'RUN',
  })(),
};

/** What `deviceFlags` become when they are parsed. */
interface DeviceFlags {
  device?: string | undefined;
  'device-index'?: number[] | undefined;
}

/** Indices of GPUs, each once. @throws UserError USAGE */
export function parseIndices(text: string): number[] {
  const parts = text.split(',').map((part) => part.trim());
  const indices = [...new Set(parts.map(Number))];
  if (parts.every((part) => /^\d{1,4}$/.test(part))) return indices;
  throw new UserError('USAGE', '--device-index cannot be read.', {
    exitCode: EXIT.usage,
    expected: 'the number of a GPU, like 0, or several, like 0,1',
    found: text,
  });
}

/** Indices of the GPUs that were asked for; null for the processor. @throws UserError USAGE */
export function gpusFrom(flags: DeviceFlags): number[] | null {
  const indices = flags['device-index'];
  if (flags.device === 'cuda') return indices ?? [0];
  if (indices === undefined) return null;
  throw new UserError('USAGE', '--device-index counts GPUs, and none was asked for.', {
    exitCode: EXIT.usage,
    expected: '--device cuda --device-index N',
  });
}

/** The same for a command that computes on one GPU. @throws UserError USAGE */
export function gpuFrom(flags: DeviceFlags): number | null {
  const indices = gpusFrom(flags);
  if (indices === null || indices.length === 1) return indices?.[0] ?? null;
  throw new UserError('USAGE', 'This command computes on one GPU.', {
    exitCode: EXIT.usage,
    expected: '--device cuda --device-index N',
    found: indices.join(','),
  });
}

/** A flag that takes a decimal number. */
export const decimal = Flags.custom<number>({
  parse: async (text, _context, { name }) => {
    const value = Number(text);
    if (text.trim() !== '' && Number.isFinite(value)) return value;
    throw new UserError('USAGE', `--${name} cannot be read.`, {
      exitCode: EXIT.usage,
      expected: 'a number, like 0.5',
      found: text,
    });
  },
});
