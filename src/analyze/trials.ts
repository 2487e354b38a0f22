import type { Params } from '../bridge/protocol.js';
import type { Remedy } from '../config/analysis.js';
import type { ActivationPlan } from '../config/plan.js';
import type { RunFiles } from '../export/run-files.js';
import type { NativeCore } from '../native/index.js';
import { targetProfile } from '../target/profiles.js';
import { channelAxisOf, type TensorProfile } from './distributions.js';
import { activationProbe, weightProbe, weightProbeName } from './probes.js';
import { activationTrials, channelwiseRemedy } from './remedies.js';
import { channelwiseWeight, type Subject } from './subject.js';

/** What is tried for one quantizer: remedies, and a probe that has one alternative for each of them. */
export interface Trials {
  name: string;
  remedies: Omit<Remedy, 'removes'>[];
  probe: Params<'sensitivity'>['probes'][number];
}

/** What to try for the quantizers to blame: other grids for activations, a scale a channel for weights without. */
export function remedyTrials(
  core: NativeCore,
  run: RunFiles,
  subject: Subject,
  profiles: ReadonlyMap<string, TensorProfile>,
  names: ReadonlySet<string>,
): Trials[] {
  const activations = run.plan.activations
    .filter(({ tensor }) => names.has(tensor))
    .map((activation) => trialsOf(core, run, subject, profiles, activation));
  const weights = subject.layers
    .filter(({ name }) => names.has(weightProbeName(name)) && subject.weights.has(channelwiseWeight(name)))
    .map((layer): Trials => {
      const name = weightProbeName(layer.name);
      const remedy = channelwiseRemedy(run.result.settings);
      return { name, remedies: [remedy], probe: weightProbe(layer, [channelwiseWeight(layer.name)]) };
    });
  return [...activations, ...weights];
}

function trialsOf(
  core: NativeCore,
  { graph, plan: { target }, result: { settings } }: RunFiles,
  { activations, observed }: Subject,
  profiles: ReadonlyMap<string, TensorProfile>,
  plan: ActivationPlan,
): Trials {
  const { tensor, format } = plan;
  const { bits, signed, scales } = activations.get(tensor)!;
  const patient = {
    plan,
    format: { bits, signed, symmetric: format.symmetric },
    perChannel: scales.length > 1,
    observed: observed.get(tensor),
    channels: profiles.get(tensor)?.channels ?? [],
    axis: channelAxisOf(graph, tensor),
  };
  const trials = activationTrials(core, patient, settings, targetProfile(target).int16Activations);
  const grids = trials.map(({ grid }) => grid);
  return {
    name: tensor,
    remedies: trials.map(({ grid: _, ...remedy }) => remedy),
    probe: activationProbe(tensor, grids),
  };
}
