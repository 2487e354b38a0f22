import type { Preprocess } from '../config/data.js';
import type { Recipe } from '../config/recipe.js';
import type { Family } from './family.js';
import { type Looks, type Picture, shapeText } from './looks.js';

/** A recipe for one network, with why each setting is what it is. */
export interface Adapted {
  recipe: Recipe;
  /** Comments by path of a key: "preprocess.mean". */
  comments: Map<string, string>;
  /** What only the one who trained the network knows. */
  checks: string[];
}

const CHECK = 'please check';

/** The nearest recipe (null: none) changed to the inputs and outputs of a network. */
export function adapt(name: string, looks: Looks, family: Family, base: Recipe | null): Adapted {
  const comments = new Map<string, string>();
  const checks: string[] = [];
  const preprocess = looks.picture ? forPicture(looks.picture, base, comments, checks) : undefined;
  if (!looks.picture && looks.inputs.length > 0) {
    const wanted = looks.inputs.map((input) => `${input.name} ${shapeText(input.shape)}`).join(', ');
    checks.push(`Data is .npy or .npz: ${wanted}, prepared as in training.`);
  }
  const metric = metricFor(family, base, comments);
  const {
    name: _,
    matches: __,
    expected: ___,
    description: ____,
    preprocess: _____,
    metric: ______,
    ...rest
  } = base ?? {
    name: '',
    family: family.task ?? 'network',
    description: '',
  };
  const recipe: Recipe = {
    name,
    description: `${looks.file}, ${base ? `from the recipe ${base.name}` : 'a recipe of no family'}`,
    ...rest,
    ...(preprocess && { preprocess }),
    ...(metric && { metric }),
  };
  return { recipe, comments, checks };
}

function forPicture(
  picture: Picture,
  base: Recipe | null,
  comments: Map<string, string>,
  checks: string[],
): Preprocess {
  const start: Preprocess = base?.preprocess ?? {
    color: 'rgb',
    interpolation: 'bilinear',
    mean: 0,
    std: 255,
    layout: 'nchw',
  };
  const from = base?.preprocess ? `as the recipe ${base.name}` : 'a guess';
  const sized = withSize(start, picture, comments);
  const gray = picture.channels === 1;
  comments.set(
    'preprocess.color',
    gray ? 'its input has one channel' : `${from}; ${CHECK}: rgb, or bgr as OpenCV reads`,
  );
  const known = `${from}; ${CHECK}: (x − mean) / std on 0..255; ToTensor and Normalize of PyTorch are theirs times 255`;
  comments.set(
    'preprocess.mean',
    base?.preprocess ? known : `nothing known of the family: values 0 to 1; ${CHECK}`,
  );
  comments.set(
    'preprocess.layout',
    `its input is ${picture.layout === 'nchw' ? 'channels first' : 'channels last'}`,
  );
  checks.push('preprocess.color, mean and std must be those of its training: nothing in the file says them.');
  return {
    ...sized,
    color: gray ? 'gray' : start.color === 'gray' ? 'rgb' : start.color,
    mean: gray ? average(start.mean) : start.mean,
    std: gray ? average(start.std) : start.std,
    layout: picture.layout,
  };
}

const average = (value: number | number[]): number =>
  Array.isArray(value) ? Number((value.reduce((a, b) => a + b, 0) / value.length).toFixed(4)) : value;

/** Sizes of the recipe, changed in proportion to the input of the network. */
function withSize(start: Preprocess, { size }: Picture, comments: Map<string, string>): Preprocess {
  const [height, width] = size;
  if (height === null || width === null) {
    comments.set('preprocess', 'the input has no fixed size: fix it with --input-shape, and these with it');
    return start;
  }
  const given: number | [number, number] = height === width ? height : [height, width];
  const { resize: _, crop: __, letterbox, ...rest } = start;
  const why = `its input is ${height} x ${width}`;
  if (letterbox) {
    comments.set('preprocess.letterbox', why);
    return { ...rest, letterbox: { ...letterbox, size: given } };
  }
  if (typeof start.crop === 'number' && typeof start.resize === 'number' && typeof given === 'number') {
    comments.set('preprocess.resize', `the shorter side, ${start.resize} for ${start.crop} in the recipe`);
    comments.set('preprocess.crop', why);
    return { ...rest, resize: Math.round((given * start.resize) / start.crop), crop: given };
  }
  comments.set('preprocess.resize', why);
  return { ...rest, resize: [height, width] };
}

function metricFor(
  { task, classes }: Family,
  base: Recipe | null,
  comments: Map<string, string>,
): Recipe['metric'] {
  const near = base?.metric;
  if (near && (near.kind === task || task === null || near.kind === 'user')) {
    comments.set('metric', 'used where --labels are given; docs/metrics.md says which');
    if (
      (near.kind === 'detection' || near.kind === 'segmentation') &&
      classes !== null &&
      near.kind === task
    ) {
      if (near.classes !== classes) comments.set('metric.classes', 'as many as its outputs tell apart');
      return { ...near, classes };
    }
    if (near.kind === 'classification' && near.topk.some((k) => k >= (classes ?? Number.POSITIVE_INFINITY)))
      return { ...near, topk: [1] };
    if (near.kind === 'classification' && near.names && near.names.length !== classes) {
      const { names: _, ...others } = near;
      return others;
    }
    return near;
  }
  if (task === 'classification') return { kind: task, topk: (classes ?? 9) > 5 ? [1, 5] : [1] };
  if (task === 'segmentation') return { kind: task, ignore: [255], ...(classes !== null && { classes }) };
  if (task === 'image') return { kind: task, range: [0, 1], border: 0, channel: 'all' };
  return undefined;
}
