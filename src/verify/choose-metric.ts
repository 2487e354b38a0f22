import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { type ClassificationMetric, DEFAULT_METRIC, type Metric, metricSchema } from '../config/metric.js';
import { EXIT, UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';
import { COCO_FIGURES } from './average-precision.js';
import { FACE_FIGURES } from './face-precision.js';
import { plainName } from './task.js';
import { TOKEN_FIGURES } from './tokens.js';

/** Metrics that can be named without a recipe, by plain name: their settings, and the score to judge by. */
const NAMED: Readonly<Record<string, { kind: Metric['kind'] } & Record<string, unknown>>> = {
  accuracy: { kind: 'classification', topk: [1] },
  miou: { kind: 'segmentation' },
  pixelaccuracy: { kind: 'segmentation', judge: 'pixel accuracy' },
  apyolox: { kind: 'detection', decode: 'yolox' },
  apyolov5: { kind: 'detection', decode: 'yolov5' },
  apyolov8: { kind: 'detection', decode: 'yolov8' },
  apssd: { kind: 'detection', decode: 'ssd' },
  apgfl: { kind: 'detection', decode: 'gfl', strides: [8, 16, 32, 64] },
  faceap: { kind: 'detection', decode: 'ssd', protocol: 'wider-face', nmsIou: 0.3 },
  psnr: { kind: 'image' },
  perplexity: { kind: 'tokens' },
  nats: { kind: 'tokens', judge: 'nats a token' },
  tokenaccuracy: { kind: 'tokens', judge: 'token accuracy' },
};

/** The names as people write them. */
const NAMES = [
  ...['top1', 'top5', 'accuracy', 'mIoU', 'pixel-accuracy', 'AP-yolox', 'AP-yolov5', 'AP-yolov8', 'AP-ssd'],
  ...['AP-gfl', 'face-AP', 'PSNR', 'perplexity', 'nats', 'token-accuracy'],
];

/** What says which metric is meant. */
export interface MetricWish {
  /** `--metric`: a name, or a Python file; undefined when it was not given. */
  flag: string | undefined;
  /** Of the recipe. */
  recipe: Metric | undefined;
  /** Labels were given. */
  labels: boolean;
}

/**
 * The metric to score with. A name picks the score of the recipe's metric to judge by, or a metric with its usual settings
 * and those of the recipe where it is of the same kind; a `.py` file is a metric of the user's. Without a name it is the
 * recipe's; labels alone mean classification.
 *
 * @throws UserError METRIC_NOT_FOUND, METRIC_UNKNOWN with near matches, METRIC_NO_LABELS
 */
export function chooseMetric({ flag, recipe, labels }: MetricWish): Metric | null {
  if (flag === undefined) return recipe ?? (labels ? DEFAULT_METRIC : null);
  if (/\.py$/i.test(flag)) return userMetric(flag, recipe);
  const metric = namedMetric(flag, recipe);
  if (!metric) throw unknown(flag, recipe);
  const needsLabels = ['classification', 'segmentation', 'image'].includes(metric.kind);
  if (!needsLabels || labels) return metric;
  throw new UserError('METRIC_NO_LABELS', `The metric ${flag} needs labels.`, {
    exitCode: EXIT.usage,
    suggestions: ['Give them with --labels.'],
  });
}

function userMetric(flag: string, recipe: Metric | undefined): Metric {
  const file = resolve(flag);
  if (!existsSync(file)) {
    throw new UserError('METRIC_NOT_FOUND', `The metric ${file} does not exist.`, {
      place: file,
      suggestions: ['Give the path of a Python file that defines evaluate(outputs, labels).'],
    });
  }
  return metricSchema.parse({ ...(recipe?.kind === 'user' ? recipe : { kind: 'user' }), file });
}

function namedMetric(flag: string, recipe: Metric | undefined): Metric | null {
  const name = plainName(flag);
  const top = /^top(\d+)$/.exec(name)?.[1];
  if (top !== undefined) return topMetric(Number(top), recipe);
  const own = recipe && scoreNames(recipe)?.find((score) => plainName(score) === name);
  if (own !== undefined) return { ...recipe!, judge: own };
  if (Object.hasOwn(NAMED, name)) {
    const settings = NAMED[name]!;
    return metricSchema.parse({ ...(recipe?.kind === settings.kind ? recipe : {}), ...settings });
  }
  // What a metric of the user's returns is not known before it has run.
  return recipe?.kind === 'user' ? { ...recipe, judge: flag } : null;
}

function topMetric(k: number, recipe: Metric | undefined): Metric | null {
  if (k === 0) return null;
  const base = (recipe?.kind === 'classification' ? recipe : DEFAULT_METRIC) as ClassificationMetric;
  return { ...base, topk: [...new Set([...base.topk, k])].sort((a, b) => a - b), judge: `top-${k}` };
}

/** What the scores of a metric are called; null for a metric of the user's. */
function scoreNames(metric: Metric): string[] | null {
  switch (metric.kind) {
    case 'classification':
      return metric.topk.map((k) => `top-${k}`);
    case 'segmentation':
      return ['mIoU', 'pixel accuracy'];
    case 'detection': {
      const figures = metric.protocol === 'coco' ? COCO_FIGURES : FACE_FIGURES;
      return [...figures.map(({ name }) => name), 'same decision'];
    }
    case 'image':
      return ['PSNR'];
    case 'tokens':
      return [...TOKEN_FIGURES.map(({ name }) => name), 'same decision'];
    case 'user':
      return null;
  }
}

function unknown(flag: string, recipe: Metric | undefined): UserError {
  const own = (recipe && scoreNames(recipe)) ?? [];
  const names = [...new Set([...own, ...NAMES])];
  return new UserError('METRIC_UNKNOWN', `There is no metric called ${flag}.`, {
    exitCode: EXIT.usage,
    expected: `${names.join(', ')}, or a Python file`,
    suggestions: [
      ...nearMatches(flag, names).map((name) => `Did you mean ${name}?`),
      'A recipe says how a family of models is scored: --recipe yolox --metric AP50.',
    ],
  });
}
