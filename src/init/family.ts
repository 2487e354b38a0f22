import type { Recipe } from '../config/recipe.js';
import { type Looks, shapeText } from './looks.js';

/** What a network was taken for. */
export interface Family {
  /** Name of the nearest recipe; null where none is near. */
  recipe: string | null;
  /** Kind of metric that its outputs suit. */
  task: NonNullable<Recipe['metric']>['kind'] | null;
  /** Classes that its outputs tell apart, where that can be seen. */
  classes: number | null;
  /** Why, a sentence each. */
  reasons: string[];
}

/**
 * The family of a network: by its outputs first, which decide how it is scored, then by the name of its file among the
 * recipes for such outputs, then by its operators.
 */
export function recognize(looks: Looks, recipes: readonly Recipe[]): Family {
  const task = taskOf(looks);
  const named = byName(looks.file, recipes);
  const fits =
    named && (task.task === null || named.metric?.kind === task.task || named.metric?.kind === 'user');
  if (named && fits) {
    return {
      ...task,
      recipe: named.name,
      task: named.metric?.kind ?? task.task,
      reasons: [`the file is called ${looks.file}`, ...task.reasons],
    };
  }
  if (task.recipe) return task;
  const built = task.task === 'classification' ? byOperators(looks) : null;
  return built ? { ...task, recipe: built.recipe, reasons: [...task.reasons, built.reason] } : task;
}

/** The recipe with the longest pattern that the file's name fits. */
function byName(file: string, recipes: readonly Recipe[]): Recipe | null {
  const fits = (pattern: string): boolean =>
    new RegExp(`^${pattern.replace(/[.+^${}()|\\]/g, '\\$&').replaceAll('*', '.*')}$`, 'i').test(file);
  const found = recipes.flatMap((recipe) =>
    (recipe.matches ?? []).filter(fits).map((pattern) => ({ recipe, length: pattern.length })),
  );
  return found.sort((a, b) => b.length - a.length)[0]?.recipe ?? null;
}

const unknown: Family = { recipe: null, task: null, classes: null, reasons: [] };

/** What the outputs say; the recipe too where no other network has such outputs. */
function taskOf(looks: Looks): Family {
  return tokens(looks) ?? detector(looks) ?? maps(looks) ?? reader(looks) ?? classifier(looks) ?? unknown;
}

function tokens({ inputs, outputs }: Looks): Family | null {
  const ids = inputs.find(({ dtype, shape }) => /^int/.test(dtype) && shape.length === 2);
  if (!ids) return null;
  const classes = outputs[0]?.shape.length === 2 ? (outputs[0].shape[1] ?? null) : null;
  const reason = `its input ${ids.name} holds numbers of tokens`;
  return { recipe: 'bert', task: 'classification', classes, reasons: [reason] };
}

const STRIDES = [8, 16, 32];

function detector({ outputs, picture }: Looks): Family | null {
  const [height, width] = picture?.size ?? [null, null];
  if (height === null || width === null) return null;
  const cells = (strides: number[], round: (x: number) => number): number =>
    strides.reduce((sum, stride) => sum + round(height / stride) * round(width / stride), 0);
  const three = cells(STRIDES, Math.floor);
  const four = cells([...STRIDES, 64], Math.ceil);
  const made = (recipe: string, classes: number, why: string): Family => ({
    recipe,
    task: 'detection',
    classes,
    reasons: [why],
  });
  const [first] = outputs;
  const [, rows = null, columns = null] = first?.shape ?? [];
  if (outputs.length === 1 && first!.shape.length === 3 && rows !== null && columns !== null) {
    const shape = shapeText(first!.shape);
    if (rows === three && columns > 5)
      return made(
        'yolox',
        columns - 5,
        `its output ${shape} has a row for each cell of the strides 8, 16, 32`,
      );
    if (rows === 3 * three && columns > 5)
      return made(
        'yolov5',
        columns - 5,
        `its output ${shape} has three boxes for each cell of the strides 8, 16, 32`,
      );
    if (columns === three && rows > 4)
      return made(
        'yolov8',
        rows - 4,
        `its output ${shape} has a column for each cell of the strides 8, 16, 32`,
      );
    if (rows === four && columns > 32)
      return made(
        'nanodet',
        columns - 32,
        `its output ${shape} has distributions for each cell of four strides`,
      );
  }
  const sides = outputs.filter(({ shape }) => shape.length === 3 && shape[2] === 32);
  if (outputs.length === 8 && sides.length >= 4)
    return made(
      'picodet',
      outputs[0]!.shape[2] ?? 80,
      'it has scores and distributions for each of four strides',
    );
  const boxes = outputs.find(({ shape }) => shape.length === 3 && shape[2] === 4);
  const scores = outputs.find(
    (one) => one !== boxes && one.shape.length === 3 && one.shape[1] === boxes?.shape[1],
  );
  if (outputs.length !== 2 || !boxes || !scores) return null;
  const why = `its outputs are boxes ${shapeText(boxes.shape)} and scores ${shapeText(scores.shape)}`;
  const classes = Math.max(1, (scores.shape[2] ?? 2) - 1);
  return made(classes === 1 ? 'ultraface' : 'ssd', classes, why);
}

/** Networks that put out maps: classes of pixels, or a picture. */
function maps({ outputs, picture, operators }: Looks): Family | null {
  const [first] = outputs;
  if (!picture || first?.shape.length !== 4) return null;
  const { shape } = first;
  const [channels, height, width] =
    picture.layout === 'nchw' ? shape.slice(1) : [shape[3], shape[1], shape[2]];
  const factor = height && picture.size[0] ? height / picture.size[0] : null;
  const enlarges = (factor ?? 0) > 1 || operators.has('DepthToSpace');
  if ((channels === 1 || channels === 3) && (enlarges || channels === picture.channels)) {
    const recipe = enlarges ? 'super-resolution' : null;
    return { recipe, task: 'image', classes: null, reasons: [`its output ${shapeText(shape)} is a picture`] };
  }
  if (!channels || channels < 2 || width === undefined || height === 1) return null;
  const recipe = { 11: 'cgnet', 19: 'espnet', 20: 'espnet', 21: 'deeplab' }[channels] ?? null;
  return {
    recipe,
    task: 'segmentation',
    classes: channels,
    reasons: [`its output ${shapeText(shape)} has a map for each of ${channels} classes`],
  };
}

/** Characters along a line of text. */
function reader({ outputs, picture }: Looks): Family | null {
  const [first] = outputs;
  const low = picture && (picture.size[0] ?? 99) <= 64 && (picture.size[1] ?? 999) > (picture.size[0] ?? 0);
  if (!low || first?.shape.length !== 3 || outputs.length !== 1) return null;
  const reason = `its input is a line of text and its output ${shapeText(first.shape)} has characters along it`;
  return { recipe: 'ocr', task: 'user', classes: null, reasons: [reason] };
}

function classifier({ outputs, inputs, picture }: Looks): Family | null {
  const flat = outputs.find(({ shape }) => shape.length === 2 || shape.slice(2).every((dim) => dim === 1));
  const classes = flat?.shape[1] ?? null;
  if (!flat || classes === null || classes < 2) return null;
  const reasons = [`its output ${shapeText(flat.shape)} has a score for each of ${classes} classes`];
  const sound = !picture && inputs.length === 1 && classes === 12;
  if (sound) reasons.push(`its input ${shapeText(inputs[0]!.shape)} is no picture`);
  return { recipe: sound ? 'keywords' : null, task: 'classification', classes, reasons };
}

/** Classifiers of pictures by how they are built. */
function byOperators({
  operators,
  depthwise,
  picture,
  outputs,
}: Looks): { recipe: string; reason: string } | null {
  if (!picture) return null;
  const count = (...names: string[]): number =>
    names.reduce((sum, name) => sum + (operators.get(name) ?? 0), 0);
  const convolutions = count('Conv');
  if (count('MatMul', 'Gemm') > 2 * convolutions && count('Softmax') > 0)
    return { recipe: 'deit', reason: 'it is made of attention' };
  if (picture.size[0] === 32 && outputs.some(({ shape }) => shape[1] === 10 || shape[1] === 100))
    return { recipe: 'resnet-cifar', reason: 'it takes pictures of 32 x 32, as CIFAR has them' };
  if (depthwise > 0) {
    if (count('HardSwish', 'HardSigmoid') > 0)
      return { recipe: 'mobilenet', reason: 'it has hard-swish, as MobileNetV3' };
    if (count('Sigmoid') > depthwise)
      return { recipe: 'efficientnet', reason: 'it has SiLU and gates, as EfficientNet' };
    if (count('Add') > 0) return { recipe: 'mobilenet', reason: 'it has inverted residuals, as MobileNetV2' };
    return { recipe: 'mobilenet-v1', reason: 'it has depthwise convolutions without residuals' };
  }
  if (count('Concat') > 2 && count('Add') === 0)
    return { recipe: 'squeezenet', reason: 'its branches are concatenated' };
  return { recipe: 'resnet', reason: 'it has convolutions and no depthwise ones' };
}
