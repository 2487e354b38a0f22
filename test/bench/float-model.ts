import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { streamProgress } from '../../src/cli/progress.js';
import { stageJob } from '../../src/quantize/context.js';
import type { ChosenSamples } from '../../src/quantize/data.js';
import { inRun } from '../../src/quantize/in-run.js';
import { openModel } from '../../src/quantize/open.js';
import type { QuantizeOptions } from '../../src/quantize/options.js';
import { labelsOf } from '../../src/quantize/stages.js';
import { writeFileAtomic } from '../../src/run/atomic.js';
import type { Labels } from '../../src/verify/labels.js';
import type { MaterializedSample } from '../../src/verify/tensors.js';
import { type BenchModel, optionsOf } from './models.js';

/** What all tools get: the float network as ONNX, and samples as tensors. */
export interface FloatModel {
  options: QuantizeOptions;
  /** Path of the float.onnx that capture leaves. */
  path: string;
  calibration: MaterializedSample[];
  scored: MaterializedSample[];
  labels: Labels | null;
}

/**
 * Brings a network in as `dopt quantize` does, through its framework's door where it has one, and writes the very samples
 * that a run with the same options calibrates with and scores on. What is in `folder` is not made again.
 */
export async function floatModel(model: BenchModel, folder: string): Promise<FloatModel> {
  const out = join(folder, 'float');
  const options = await optionsOf(model, ['--out', out, ...(existsSync(out) ? ['--resume'] : [])]);
  const file = join(folder, 'float.json');
  if (!existsSync(file)) await writeFileAtomic(file, JSON.stringify(await prepare(options)));
  const { names, ...prepared } = JSON.parse(readFileSync(file, 'utf8')) as Prepared;
  return { options, ...prepared, labels: await labelsOf(options, prepared.scored, names) };
}

type Prepared = Omit<FloatModel, 'options' | 'labels'> & { names: string[] };

function prepare(options: QuantizeOptions): Promise<Prepared> {
  return inRun(options, { progress: streamProgress(process.stderr) }, async (stages) => {
    const { capture, sets } = await openModel(stages, options);
    const write = async (part: string, { source, listing }: ChosenSamples): Promise<MaterializedSample[]> => {
      const key = { data: listing.sha256, source: { ...source, path: '' } };
      const { value } = await stages.run.stage(part, key, (out) =>
        stageJob(stages, `write ${part} samples`, 'materialize', { source, out }),
      );
      return value.samples;
    };
    const calibration = await write('calibration', sets.calibration);
    const scored = await write('scored', sets.verification!);
    await stages.run.finish({}, {});
    return { path: capture.model, calibration, scored, names: sets.verification!.listing.names };
  });
}
