import type { Run } from '../run/run.js';
import { widthOf } from './options.js';
import type { Quantized } from './pass.js';

/** Gives a model that may become the result, its parameters and its plan their final names in the run folder. */
export async function publishModel(run: Run, { prepared, params, path }: Quantized): Promise<void> {
  await run.publish(path, `${prepared.name}.${widthOf(prepared.plan.strategy)}.onnx`);
  await run.write('quant_params.json', `${JSON.stringify(params, null, 1)}\n`);
  await run.write('plan.json', `${JSON.stringify(prepared.plan, null, 1)}\n`);
}
