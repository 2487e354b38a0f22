import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RunJob } from '../bridge/progress-job.js';
import type { Params, Result } from '../bridge/protocol.js';
import type { DataSource } from '../config/data.js';
import { rewriteSchema } from '../config/rewrite.js';
import { SafetensorsFile, writeSafetensors } from '../graph/safetensors.js';
import type { QdqRewrite } from '../quantize/apply.js';
import { readRunFile } from '../run/run-file.js';
import { withoutQuantizers } from './instrument.js';
import { probeSamples, type SampleError } from './probe-samples.js';

/** Largest size of the tensors that cross one cut of a network, for all samples that are measured on. */
const MEMORY = 512e6;

/** Where sensitivities of one network are measured. */
export interface Bench {
  job: RunJob;
  /** Folder for the models that are measured; the caller removes it. */
  folder: string;
  /** float.onnx, whose outputs everything is held against. */
  float: string;
  source: DataSource;
  threads: number;
}

/** Edits and parameters as an apply stage left them. */
export function readApplied(rewrite: string, parameters: string): QdqRewrite {
  const file = SafetensorsFile.open(parameters);
  return {
    rewrite: readRunFile(rewrite, rewriteSchema),
    parameters: new Map(file.names.map((name) => [name, file.get(name)!])),
  };
}

/**
 * Writes a variant of the network that onnxruntime of the onnx profile can run: it has no 16-bit operators, and what 16
 * bits round away is not to be seen beside 8, so those quantizers are left out.
 * @param name of the file, without its ending
 */
export async function writeVariant(
  { job, folder, float }: Bench,
  name: string,
  edits: QdqRewrite,
): Promise<string> {
  const wide = new Set(
    edits.rewrite.addNodes.filter(({ domain }) => domain !== '').map(({ inputs }) => inputs[0]),
  );
  const { rewrite, parameters } = withoutQuantizers(edits, (tensor) => wide.has(tensor));
  const [list, tensors, out] = ['json', 'safetensors', 'onnx'].map((end) => join(folder, `${name}.${end}`));
  writeFileSync(list!, JSON.stringify(rewrite));
  writeSafetensors(tensors!, parameters);
  await job(`prepare the ${name} network`, 'rewrite', {
    model: float,
    rewrite: list!,
    parameters: tensors!,
    out: out!,
    externalDataAbove: null,
    check: 'none',
  });
  return out!;
}

/**
 * Chooses the samples to measure on, by what the quantized network does to each of the source's.
 * @returns the source with these samples, their positions among the source's, and what it does to them
 */
export async function chooseProbeSamples(
  { job, float, source, threads }: Bench,
  quantized: string,
  count: number,
): Promise<{ source: DataSource; chosen: number[]; errors: SampleError[] }> {
  const { samples } = await job(
    'errors by sample',
    'compareSamples',
    { reference: float, model: quantized, source, threads },
    (answer: { samples: SampleError[] }) => `${answer.samples.length} samples`,
  );
  const chosen = probeSamples(samples, count);
  const indices = source.indices ?? samples.map((_, index) => index);
  return {
    source: { ...source, indices: chosen.map((at) => indices[at]!) },
    chosen,
    errors: chosen.map((at) => samples[at]!),
  };
}

/** What is changed, one tensor at a time. */
export type Probes = Pick<Params<'sensitivity'>, 'model' | 'exact' | 'quantized' | 'probes' | 'values'>;

/** Measures probes; says how much work that is, in passes of the network. */
export function measure(
  { job, float, source, threads }: Bench,
  title: string,
  probes: Probes,
): Promise<Result<'sensitivity'>> {
  const runs = probes.probes.reduce((sum, { change }) => {
    const tries = change.kind === 'weight' ? change.values.length : change.quantizers.length;
    return sum + tries + (probes.quantized ? 1 : 0);
  }, 0);
  return job(
    `${title} (${probes.probes.length} quantizers, about ${Math.ceil(runs / 2)} passes a sample)`,
    'sensitivity',
    { reference: float, source, maxBytes: MEMORY, threads, ...probes },
    ({ samples }) => `${samples} samples`,
  );
}
