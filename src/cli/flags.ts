import * as Flags from '@oclif/core/flags';
import { ENVIRONMENT_KINDS } from '../bridge/profiles.js';
import { type Preprocess, preprocessSchema } from '../config/data.js';
import { parseNumbers, parseSize } from './parse.js';

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

/** What commands that run Python share. */
export const runtimeFlags = {
  env: Flags.string({
    options: [...ENVIRONMENT_KINDS],
    default: 'venv',
    description: 'Python: an environment of ours, or the interpreter of DOPT_PYTHON / python3 as it is',
    helpGroup: 'RUN',
  }),
  threads: Flags.integer({ min: 1, description: 'processor threads (default: all)', helpGroup: 'RUN' }),
};
