import { join } from 'node:path';
import { toNumber } from '../config/common.js';
import type { PrecisionTry } from '../config/precision.js';
import { metricJob, type StageContext, stageJob } from '../quantize/context.js';
import type { ChosenSamples } from '../quantize/data.js';
import type { OpenedModel } from '../quantize/open.js';
import { labelsOf } from '../quantize/stages.js';
import type { SampleEnergies } from '../verify/request.js';
import type { MaterializedSample } from '../verify/tensors.js';
import { verifySamples } from '../verify/verify.js';
import { measured } from './goal.js';

/** Scores models on the samples that decide between them. */
export interface Judge {
  samples: number;
  /** What a drop is about; null where there is nothing to lose but decibels. */
  metric: string | null;
  score(quantized: string): Promise<Pick<PrecisionTry, 'sqnr' | 'drop'> & { energies: SampleEnergies }>;
}

/**
 * Prepares the samples that were kept back for decisions. Labels serve where these samples are of the source that the
 * labels are for; elsewhere a drop is the share of decisions that differ from the float model's, which bounds it.
 */
export async function openJudge(
  context: StageContext,
  { prepared, metricContext }: OpenedModel,
  tuning: ChosenSamples,
): Promise<Judge> {
  const { options, float } = prepared;
  const key = { data: tuning.listing.sha256, source: { ...tuning.source, path: '' } };
  const { value } = await context.run.stage('tuning', key, async (folder) => {
    const params = { source: tuning.source, out: join(folder, 'samples') };
    const { samples } = await stageJob(context, 'read samples to decide by', 'materialize', params);
    return { samples: samples as MaterializedSample[] };
  });
  const { samples } = value;
  const labelled = options.verifyData === null || options.verifyData === options.data;
  const labels = labelled ? await labelsOf(options, samples, tuning.listing.names) : null;
  const needsLabels = ['classification', 'segmentation', 'image'].includes(options.metric?.kind ?? '');
  const metric = labels === null && needsLabels ? null : options.metric;
  const judge: Judge = {
    samples: samples.length,
    metric: null,
    score: async (quantized) => {
      const shown = context.progress.stage('score a try');
      const { verification, energies } = await verifySamples({
        float,
        quantized,
        userMetric: { run: metricJob(metricContext), folder: context.run.stageFolder('tuning') },
        samples,
        tensors: null,
        metric,
        labels,
        preprocess: options.preprocess,
        optimization: 'disabled',
        threads: context.threads,
        ...(context.signal ? { signal: context.signal } : {}),
        onProgress: (done, total, message) => shown.update(done, total, message),
      });
      const found = measured(verification);
      judge.metric = found.metric;
      shown.done(
        `${toNumber(found.sqnr).toFixed(1)} dB${found.drop === null ? '' : `, ${found.drop.toFixed(2)} lost`}`,
      );
      return { sqnr: found.sqnr, drop: found.drop, energies };
    },
  };
  return judge;
}
