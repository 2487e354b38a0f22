import { writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { Result } from '../bridge/protocol.js';
import type { GraphFile } from '../config/graph.js';
import type { Plan } from '../config/plan.js';
import type { WriteBack } from '../config/write-back.js';
import { type Tensor, writeSafetensors } from '../graph/safetensors.js';
import { integerReaders } from '../quantize/apply.js';
import { type StageContext, stageJob } from '../quantize/context.js';
import type { Layer } from '../quantize/layers.js';
import type { SolvedActivation, SolvedLayer } from '../quantize/solution.js';
import { type Door, inFramework } from './convert.js';

/** A quantization as plain data: what goes into the model's own format. */
export interface Quantization {
  graph: GraphFile;
  plan: Plan;
  layers: readonly Layer[];
  solved: ReadonlyMap<string, SolvedLayer>;
  activations: ReadonlyMap<string, SolvedActivation>;
}

/** A quantization in the form of src/config/write-back.ts: the structure, and the numbers by name. */
export function writeBackOf(quantization: Quantization): {
  file: WriteBack;
  parameters: Map<string, Tensor>;
} {
  const { graph, plan, layers, solved, activations } = quantization;
  const parameters = new Map<string, Tensor>();
  for (const layer of layers) writeLayer(parameters, layer, solved.get(layer.name)!);
  for (const activation of activations.values()) writeActivation(parameters, activation);
  const removed = layers.flatMap(({ batchNorm }) => (batchNorm ? [batchNorm.name] : []));
  const readers = integerReaders(plan, removed);
  const ops = new Map(graph.nodes.map(({ name, op }) => [name, op]));
  const file: WriteBack = {
    version: 1,
    layers: layers.map((layer) => ({
      name: layer.name,
      op: ops.get(layer.name)!,
      weight: layer.plan.tensor,
      weightIndex: layer.weightIndex,
      axis: layer.plan.axis,
      groups: layer.plan.groups,
      input: layer.input,
      output: layer.output,
      batchNorm: batchNormOf(layer),
      bias: layer.bias && { node: layer.bias.node, index: layer.bias.index },
    })),
    activations: plan.activations.map(({ tensor }) => {
      const { format, channels } = activations.get(tensor)!;
      return {
        tensor,
        bits: format.bits,
        signed: format.signed,
        axis: channels?.axis ?? null,
        readers: graph.nodes.flatMap(({ name, inputs }) =>
          readers.has(name)
            ? inputs.flatMap((input, index) => (input === tensor ? [{ node: name, index }] : []))
            : [],
        ),
      };
    }),
  };
  return { file, parameters };
}

function batchNormOf({ batchNorm }: Layer): WriteBack['layers'][number]['batchNorm'] {
  if (!batchNorm) return null;
  const [, gamma, beta, mean, variance] = batchNorm.inputs as [string, string, string, string, string];
  const epsilon = Number(batchNorm.attributes.epsilon ?? 1e-5);
  return { node: batchNorm.name, gamma, beta, mean, variance, epsilon };
}

function writeLayer(parameters: Map<string, Tensor>, layer: Layer, solved: SolvedLayer): void {
  const { name, shape } = layer;
  parameters.set(`${name}/weight/integers`, { data: solved.integers, shape });
  parameters.set(`${name}/weight/scale`, { data: solved.scales, shape: [solved.scales.length] });
  const { quantizedBias } = solved;
  const bias = quantizedBias
    ? Float32Array.from(quantizedBias.integers, (q, i) => q * quantizedBias.scales[i]!)
    : solved.bias;
  if (bias) parameters.set(`${name}/bias`, { data: bias, shape: [bias.length] });
}

function writeActivation(parameters: Map<string, Tensor>, activation: SolvedActivation): void {
  const { tensor, scale, zeroPoint, channels } = activation;
  const list = channels?.parameters ?? [{ scale, zeroPoint }];
  const shape = [list.length];
  parameters.set(`${tensor}/scale`, { data: Float32Array.from(list, (p) => p.scale), shape });
  parameters.set(`${tensor}/zero_point`, { data: Int32Array.from(list, (p) => p.zeroPoint), shape });
}

/** The files of a write-back: `plain` has weights on the grid; `checked` quantizes activations too. */
export interface WrittenBack extends Omit<Result<'writeBack'>, 'files'> {
  plain: string;
  checked: string;
}

/**
 * Writes the quantized network in the model's own format: a frozen graph, or a file of weights for the user's class.
 * A TensorFlow graph is written twice: with float activations, and with quantizers between its nodes.
 */
export async function writeBackStage(
  context: StageContext,
  door: Door,
  quantization: Quantization,
  onnx: string,
  key: unknown,
): Promise<{ value: WrittenBack; digest: string }> {
  return context.run.stage('write-back', { key, converted: door.digest }, async (folder) => {
    const { file, parameters } = writeBackOf(quantization);
    const writeBack = join(folder, 'write-back.json');
    const numbers = join(folder, 'parameters.safetensors');
    writeFileSync(writeBack, JSON.stringify(file));
    writeSafetensors(numbers, parameters);
    const tensorflow = door.framework === 'tensorflow';
    const { model, weights } = door.model;
    const plain = tensorflow ? 'quantized.pb' : `quantized${extname(weights ?? model)}`;
    const checked = tensorflow ? 'fake-quant.pb' : plain;
    const { notes, unmapped } = await stageJob(
      inFramework(context, door),
      `write ${plain}`,
      'writeBack',
      {
        ...door.model,
        borders: door.borders,
        onnx,
        writeBack,
        parameters: numbers,
        out: join(folder, plain),
        fakeQuantOut: tensorflow ? join(folder, checked) : null,
      },
      (answer) => (answer.unmapped.length > 0 ? `${answer.unmapped.length} tensors stay float` : ''),
    );
    return { plain, checked, notes, unmapped };
  });
}
