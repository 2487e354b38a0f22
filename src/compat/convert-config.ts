import { existsSync } from 'node:fs';
import { basename, dirname, extname } from 'node:path';
import { stringify } from 'yaml';
import type { NamedShape } from '../cli/parse.js';
import { type Recipe, recipeSchema } from '../config/recipe.js';
import { UserError } from '../errors.js';
import { diskError, makeFolder, writeFileAtomic } from '../run/atomic.js';
import { type InputBlock, type NotrainConfig, readNotrainConfig } from './config.js';
import type { Layout } from './request.js';

export interface ConvertConfigOptions {
  /** config.prototxt */
  config: string;
  /** recipe.yaml to write */
  out: string;
  layout: Layout;
  /** Of the model's inputs, where known: the size that pictures are scaled to. */
  inputShape: NamedShape[];
}

export interface ConvertedConfig {
  out: string;
  recipe: Recipe;
  /** What a recipe cannot say, one sentence each. */
  notes: string[];
  /** The command that does what the old one did; MODEL and RUN are to be filled in. */
  command: string[];
}

/**
 * Turns a config.prototxt into a recipe file.
 * @throws UserError PROTOTXT_INVALID, COMPAT_STRATEGY; COMPAT_OUT_EXISTS: files are never replaced
 */
export async function convertConfig(options: ConvertConfigOptions): Promise<ConvertedConfig> {
  const { out } = options;
  const config = await readNotrainConfig(options.config);
  if (existsSync(out)) {
    throw new UserError('COMPAT_OUT_EXISTS', `${out} exists; it is not overwritten silently.`, {
      place: out,
      suggestions: ['Give another file: --out recipe.yaml'],
    });
  }
  const { recipe, notes, command } = toRecipe(config, options);
  const head = [
    `From ${basename(config.file)}. What it does not carry over:`,
    ...notes.map((note) => `- ${note}`),
  ];
  const text = `${head.map((line) => `# ${line}\n`).join('')}\n${stringify(recipe, { flowCollectionPadding: false })}`;
  try {
    makeFolder(dirname(out));
  } catch (error) {
    throw diskError(error, out);
  }
  await writeFileAtomic(out, text);
  return { out, recipe, notes, command };
}

/** The recipe for a config, and what is left to flags. Pure. */
export function toRecipe(
  config: NotrainConfig,
  { out, layout, inputShape }: Omit<ConvertConfigOptions, 'config'>,
): Omit<ConvertedConfig, 'out'> {
  const notes = [...config.warnings];
  const command = ['dopt', 'quantize', 'MODEL', '--recipe', out];
  const [block] = config.inputs as [InputBlock, ...InputBlock[]];
  let preprocess: Recipe['preprocess'];
  if (config.inputs.length > 1) {
    notes.push(
      `${config.inputs.length} inputs: a recipe describes pictures for one. Give .npz files with one array an input ` +
        'after --data, or go on with the old file: dopt compat notrain.',
    );
    command.push('--data', 'FOLDER_OF_NPZ');
  } else {
    preprocess =
      block.kind === 'image' ? pictureSettings(block, layout, inputShape[0], notes) : arraySettings(layout);
    notes.push(`input_file_path: give it after --data (${block.path}).`);
    command.push('--data', block.path);
  }
  if (config.strategy !== 'int8-8') {
    notes.push(`strategy ${config.strategyName.name}: give --strategy ${config.strategy}.`);
    command.push('--strategy', config.strategy);
  }
  if (config.device === 'gpu') notes.push('device USE_GPU: calibration runs on the processor.');
  if (inputShape.length > 0) {
    const shapes = inputShape.map(({ name, dims }) => `${name}:${dims.join(',')}`).join(';');
    notes.push('--input_shape: give it after --input-shape where the model leaves dimensions open.');
    command.push('--input-shape', shapes);
  }
  command.push('--out', 'RUN');
  const exclude = config.exclude.map(({ name }) => name);
  const recipe = recipeSchema.parse({
    name: recipeName(out),
    family: 'converted',
    description: `settings of ${basename(config.file)}`,
    ...(preprocess && { preprocess }),
    ...(exclude.length > 0 && { exclude }),
  });
  return { recipe, notes, command };
}

function pictureSettings(
  { color, mean, std }: InputBlock,
  layout: Layout,
  shape: NamedShape | undefined,
  notes: string[],
): Recipe['preprocess'] {
  const dims = shape && (shape.dims.length === 3 || shape.dims.length === 4) ? shape.dims.slice(-3) : null;
  const [channels, height, width] = dims && layout === 'nhwc' ? [dims[2], dims[0], dims[1]] : (dims ?? []);
  if (!dims) notes.push('The size of the pictures is not in the file: give --input_shape here, or --resize.');
  const single = (values: number[]): number | number[] => (values.length === 1 ? values[0]! : values);
  return {
    color: channels === 1 ? 'gray' : color,
    ...(dims && { resize: [height!, width!] }),
    interpolation: 'bilinear',
    mean: single(mean),
    std: single(std),
    layout,
  };
}

/** Bins are taken as they are; only kind 510 is transposed for models in NHWC. */
const arraySettings = (layout: Layout): Recipe['preprocess'] =>
  layout === 'nhwc'
    ? { color: 'rgb', interpolation: 'bilinear', mean: 0, std: 1, layout: 'nhwc' }
    : undefined;

/** A recipe's name from its file: lower-case letters, digits, dots and hyphens. */
function recipeName(out: string): string {
  const name = basename(out, extname(out))
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '');
  return name || 'converted';
}
