import type { Model } from './session.js';
import { type MaterializedSample, readRawTensor } from './tensors.js';

/** Outputs that another program has computed, sample by sample, in files. */
export interface RecordedOutputs {
  /** What ran, for messages. */
  name: string;
  /** By output name, in the order of the samples. */
  samples: MaterializedSample['tensors'][];
}

/** Recorded outputs in place of a model that runs: what it "computes" for a sample is read from the sample's files. */
export async function recordedModel({ name, samples }: RecordedOutputs): Promise<Model> {
  const { Tensor } = await import('onnxruntime-node');
  const outputs = Object.keys(samples[0] ?? {});
  return {
    path: name,
    inputs: [],
    inputTypes: [],
    outputs,
    seconds: 0,
    run: async (_, wanted, index) =>
      Object.fromEntries(
        wanted.map((output) => {
          const { dtype, data, shape } = readRawTensor(samples[index]![output]!);
          return [output, new Tensor(dtype as 'float32', data as Float32Array, shape)];
        }),
      ),
    release: async () => {},
  };
}
