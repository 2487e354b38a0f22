import type { Result } from '../bridge/protocol.js';
import type { Analysis, QuantizerAnalysis, Remedy } from '../config/analysis.js';
import type { RunFiles } from '../export/run-files.js';
import type { NativeCore } from '../native/index.js';
import { jsonNumber, sqnr } from '../verify/similarity.js';
import { activationDistribution, type TensorProfile, weightDistribution } from './distributions.js';
import type { SampleError } from './probe-samples.js';
import { relativeNoise, weightProbeName } from './probes.js';
import { floatLayer, ranked } from './remedies.js';
import type { Subject } from './subject.js';
import type { Trials } from './trials.js';

/** Everything that was measured. */
export interface Measured {
  solo: Result<'sensitivity'>;
  profiles: ReadonlyMap<string, TensorProfile>;
  trials: readonly Trials[];
  tried: Result<'sensitivity'> | null;
  /** Names of the probes that remedies were looked for. */
  blamed: ReadonlySet<string>;
  /** What the quantized model does to the samples of `solo`. */
  errors: readonly SampleError[];
}

/** Puts the measurements of a run together, quantizer by quantizer in graph order. */
export function assemble(
  core: NativeCore,
  { graph, plan }: RunFiles,
  { layers, activations, observed }: Subject,
  { solo, profiles, trials, tried, blamed, errors }: Measured,
): Pick<Analysis, 'outputs' | 'quantizers'> {
  const probes = new Map(solo.probes.map((probe) => [probe.name, probe]));
  const own = new Map(
    [...probes].map(([name, { alternatives }]) => [
      name,
      relativeNoise(solo.outputs, alternatives[0]!.noise),
    ]),
  );
  const total = [...own.values()].reduce((sum, noise) => sum + noise, 0);
  const order = [...own].sort(([, a], [, b]) => b - a).map(([name]) => name);
  const remedies = remediesOf(trials, tried, own);

  const describe = (name: string): Pick<QuantizerAnalysis, 'solo' | 'share' | 'rank' | 'accumulated'> => {
    const { alternatives, accumulated, arrived } = probes.get(name)!;
    const { noise, layer } = alternatives[0]!;
    return {
      solo: { outputs: decibels(solo.outputs, noise), layer: layer && ratio(layer) },
      share: total > 0 ? Number((own.get(name)! / total).toPrecision(6)) : 0,
      rank: order.indexOf(name) + 1,
      accumulated: accumulated &&
        arrived && { outputs: decibels(solo.outputs, accumulated), tensor: ratio(arrived) },
    };
  };

  const ofActivations = plan.activations.map(({ tensor, producer }): QuantizerAnalysis => {
    const profile = profiles.get(tensor);
    return {
      kind: 'activation',
      name: tensor,
      origin: producer,
      bits: activations.get(tensor)!.bits,
      ...describe(tensor),
      remedies: remedies.get(tensor) ?? [],
      distribution: profile ? activationDistribution(profile, observed.get(tensor)) : null,
    };
  });
  const ofWeights = layers.map((layer): QuantizerAnalysis => {
    const name = weightProbeName(layer.name);
    const found = describe(name);
    const float = blamed.has(name) ? [{ ...floatLayer(layer.name), removes: 1 }] : [];
    return {
      kind: 'weight',
      name: layer.name,
      origin: layer.plan.tensor,
      bits: layer.plan.format.bits,
      ...found,
      remedies: [...(remedies.get(name) ?? []), ...float],
      distribution: weightDistribution(core, graph, layer),
    };
  });
  const position = ({ kind, name, origin }: QuantizerAnalysis): number => {
    const node = kind === 'weight' ? name : origin;
    return node === null ? -1 : graph.position(graph.node(node)!);
  };
  return {
    outputs: solo.outputs.map(({ name }, output) => ({
      name,
      sqnr: ratio({
        signal: errors.reduce((sum, { signal }) => sum + signal[output]!, 0),
        noise: errors.reduce((sum, { noise }) => sum + noise[output]!, 0),
      }),
    })),
    quantizers: [...ofActivations, ...ofWeights].sort((a, b) => position(a) - position(b)),
  };
}

/** What was tried for each quantizer with what it removes. */
function remediesOf(
  trials: readonly Trials[],
  tried: Result<'sensitivity'> | null,
  own: ReadonlyMap<string, number>,
): Map<string, Remedy[]> {
  const answers = new Map(tried?.probes.map((probe) => [probe.name, probe]));
  return new Map(
    trials.map(({ name, remedies }) => {
      const { alternatives } = answers.get(name)!;
      const measured = remedies.map((remedy, index) => ({
        ...remedy,
        noise: relativeNoise(tried!.outputs, alternatives[index]!.noise),
      }));
      return [name, ranked(measured, own.get(name)!)];
    }),
  );
}

const ratio = ({ signal, noise }: { signal: number; noise: number }) =>
  jsonNumber(rounded(sqnr(signal, noise)));

const decibels = (outputs: readonly { signal: number }[], noise: readonly number[]) =>
  outputs.map(({ signal }, output) => ratio({ signal, noise: noise[output]! }));

/** Hundredths of a decibel are more than anyone can use. */
const rounded = (value: number): number => (Number.isFinite(value) ? Math.round(value * 100) / 100 : value);
