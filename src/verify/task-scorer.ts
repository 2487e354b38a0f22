import type { Metric } from '../config/metric.js';
import { Bug, UserError } from '../errors.js';
import { ClassificationScorer } from './classification.js';
import { type DetectionSample, DetectionScorer } from './detection.js';
import { ImageScorer } from './image.js';
import type { VerifyRequest } from './request.js';
import { SegmentationScorer } from './segmentation.js';
import type { TaskScorer } from './task.js';
import type { MaterializedSample } from './tensors.js';
import { TokenScorer } from './tokens.js';

type Layout = NonNullable<VerifyRequest['preprocess']>['layout'];

/**
 * The scorer that a request asks for; null without a metric, where the metric needs labels and there are none, and for a
 * metric of the user's, which is run elsewhere (user-metric.ts).
 */
export function taskScorer(request: VerifyRequest): TaskScorer | null {
  const { metric, labels, samples, preprocess } = request;
  if (!metric) return null;
  if (labels && labels.kind !== metric.kind)
    throw new Bug(`${labels.kind} labels for a ${metric.kind} metric`);
  const names = samples.map((sample) => sample.name);
  switch (metric.kind) {
    case 'classification':
      return labels?.kind === 'classification'
        ? new ClassificationScorer(metric, labels.classes, names)
        : null;
    case 'segmentation':
      refuseCut(metric, request);
      return labels?.kind === 'segmentation'
        ? new SegmentationScorer(metric, preprocess?.layout ?? 'nchw', labels.files)
        : null;
    case 'detection': {
      if (!preprocess) throw new Bug('a detection metric needs to know the preprocessing');
      const pictures = samples.map((sample) => detectionSample(sample, preprocess.layout));
      return new DetectionScorer(
        metric,
        preprocess,
        pictures,
        labels?.kind === 'detection' ? labels.boxes : null,
      );
    }
    case 'image':
      return labels?.kind === 'image'
        ? new ImageScorer(metric, preprocess ?? { layout: 'nchw', color: 'rgb' }, labels.files)
        : null;
    case 'tokens':
      return new TokenScorer(metric, names, labels?.kind === 'tokens' ? labels.files : null);
    case 'user':
      return null;
  }
}

/** Label maps cover whole pictures; a crop or a letterbox shows something else. */
function refuseCut(metric: Metric, { preprocess, labels }: VerifyRequest): void {
  if (!labels || !preprocess) return;
  const cut = preprocess.crop !== undefined || preprocess.letterbox !== undefined;
  if (!cut && typeof preprocess.resize !== 'number') return;
  throw new UserError(
    'METRIC_PREPROCESS',
    `The ${metric.kind} metric needs whole pictures in the label map's frame.`,
    {
      suggestions: ['Resize to a pair of sizes, without crop or letterbox.'],
    },
  );
}

function detectionSample(sample: MaterializedSample, layout: Layout): DetectionSample {
  const shape = Object.values(sample.tensors)[0]?.shape ?? [];
  if (!sample.originalSize || shape.length !== 4) {
    throw new UserError('METRIC_DATA', `Boxes can be scored on pictures only; ${sample.name} is none.`, {
      suggestions: ['Give --data a folder of pictures, or leave the detection metric out.'],
    });
  }
  const [height, width] = layout === 'nchw' ? [shape[2]!, shape[3]!] : [shape[1]!, shape[2]!];
  return { name: sample.name, original: sample.originalSize, input: [height, width] };
}
