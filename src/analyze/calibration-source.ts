import { z } from 'zod';
import type { RunJob } from '../bridge/progress-job.js';
import { type DataSource, dataSourceSchema } from '../config/data.js';
import { UserError } from '../errors.js';
import type { RunFiles } from '../export/run-files.js';
import { readManifest } from '../run/out-folder.js';

/** What of a manifest matters here. */
const sourcesSchema = z.object({ sources: z.object({ calibration: dataSourceSchema }) });

/** The samples that a run was calibrated with. */
export interface CalibrationSource {
  source: DataSource & { indices: number[] };
  /** Names of all samples of the source, by index. */
  names: string[];
  /** At most so many of the samples, evenly spread. */
  spread(count: number): number[];
}

/**
 * Finds the calibration samples of a finished run again.
 * @throws UserError RUN_FILE for a run of an older dopt, DATA_CHANGED when the data is not what calibrated it
 */
export async function calibrationSource(
  { folder, result }: RunFiles,
  job: RunJob,
): Promise<CalibrationSource> {
  const found = sourcesSchema.safeParse(readManifest(folder)?.details);
  if (!found.success) {
    throw new UserError('RUN_FILE', `The manifest of ${folder} does not say which samples calibrated.`, {
      place: folder,
      suggestions: ['Was the run made by another version of dopt? Quantize again into a new folder.'],
    });
  }
  const source = found.data.sources.calibration;
  const { names, sha256 } = await job('list samples', 'listSamples', {
    source: { ...source, indices: null },
  });
  if (sha256 !== result.data.calibration.sha256) {
    throw new UserError('DATA_CHANGED', `${source.path} is not what ${folder} was calibrated with.`, {
      place: source.path,
      expected: `contents with SHA-256 ${result.data.calibration.sha256}`,
      found: sha256,
      suggestions: ['Put the files back as they were, or quantize again into a new folder.'],
    });
  }
  const indices = source.indices ?? names.map((_, index) => index);
  return {
    source: { ...source, indices },
    names,
    spread: (count) =>
      indices.length <= count
        ? indices
        : Array.from({ length: count }, (_, i) => indices[Math.floor(((i + 0.5) * indices.length) / count)]!),
  };
}
