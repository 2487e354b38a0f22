import type { Result } from '../bridge/protocol.js';
import type { Activation } from '../export/layers.js';
import type { RunFiles } from '../export/run-files.js';
import { activationProbe, type Grid, gridOf, readingLayers, relativeNoise, weightProbe } from './probes.js';
import { roundedWeight, type Subject } from './subject.js';

/** The grid that a run gave an activation. */
export function gridOfRun({ bits, signed, scales, zeroPoints, axis }: Activation): Grid {
  const parameters = zeroPoints.map((zeroPoint, index) => ({ scale: scales[index]!, zeroPoint }));
  return gridOf({ bits, signed }, parameters, axis);
}

/** Every quantizer of a run on alone: activations with the layers that read them, and weights. */
export function soloProbes(
  { graph, plan }: Pick<RunFiles, 'graph' | 'plan'>,
  { activations, layers }: Pick<Subject, 'activations' | 'layers'>,
) {
  return [
    ...plan.activations.map(({ tensor }) =>
      activationProbe(tensor, [gridOfRun(activations.get(tensor)!)], readingLayers(graph, plan, tensor)),
    ),
    ...layers.map((layer) => weightProbe(layer, [roundedWeight(layer.name)])),
  ];
}

/** Names of the probes to blame most, by the noise they bring to the outputs. */
export function blamed({ probes, outputs }: Result<'sensitivity'>, count: number): Set<string> {
  const noise = new Map(
    probes.map(({ name, alternatives }) => [name, relativeNoise(outputs, alternatives[0]!.noise)]),
  );
  const order = [...noise].filter(([, own]) => own > 0).sort(([, a], [, b]) => b - a);
  return new Set(order.slice(0, count).map(([name]) => name));
}
